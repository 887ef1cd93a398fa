#include "cai/model/rotary.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace cai {
namespace {

at::Tensor unscaled(double base, std::int64_t width) {
  return 1.0 / at::pow(base, at::arange(0, width, 2, at::kLong).to(at::kFloat) / static_cast<double>(width));
}

at::Tensor llama3(const at::Tensor& f, const RopeScaling& s) {
  const double low = static_cast<double>(s.original_context) / s.low_frequency_factor,
               high = static_cast<double>(s.original_context) / s.high_frequency_factor;
  const at::Tensor wave = 2 * M_PI / f;
  const at::Tensor smooth = (static_cast<double>(s.original_context) / wave - s.low_frequency_factor) /
                            (s.high_frequency_factor - s.low_frequency_factor);
  const at::Tensor between = (1 - smooth) * f / s.factor + smooth * f;
  const at::Tensor slow = at::where(wave.gt(low), f / s.factor, f);
  return at::where(wave.lt(high).logical_or(wave.gt(low)), slow, between);
}

// Pairs that turn often stay, those that turn less than once in the original context are interpolated, with a
// ramp between.
at::Tensor yarn(const at::Tensor& f, const RopeScaling& s, double base, std::int64_t width) {
  const auto pair_that_turns = [&](double times) {
    return static_cast<double>(width) *
           std::log(static_cast<double>(s.original_context) / (times * 2 * M_PI)) / (2 * std::log(base));
  };
  double low = pair_that_turns(s.beta_fast), high = pair_that_turns(s.beta_slow);
  if (s.truncates) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, static_cast<double>(width - 1));
  if (low == high) high += 0.001;
  const at::Tensor interpolated = at::clamp((at::arange(width / 2, at::kFloat) - low) / (high - low), 0, 1);
  return f / s.factor * interpolated + f * (1 - interpolated);
}

double attention_factor(const RopeScaling& s) {
  if (s.attention_factor > 0) return s.attention_factor;
  if (s.factor <= 1) return 1;
  return s.kind == RopeKind::kYarn
             ? 0.1 * std::log(s.factor) + 1
             : std::sqrt(1 + std::log(s.factor) / std::log(static_cast<double>(s.original_context)));
}

}  // namespace

RotaryFrequencies rotary_frequencies(const ModelConfig& c, std::int64_t layer) {
  if (!c.rotates(layer)) return {};
  const std::int64_t width = c.rotary();
  if (c.window_rope_base > 0 && c.is_windowed(layer)) return {unscaled(c.window_rope_base, width)};
  const RopeScaling& s = c.rope_scaling;
  const at::Tensor f = unscaled(c.rope_base, width);
  switch (s.kind) {
    case RopeKind::kLinear: return {f / s.factor};
    case RopeKind::kLlama3: return {llama3(f, s)};
    case RopeKind::kYarn: return {yarn(f, s, c.rope_base, width), attention_factor(s)};
    case RopeKind::kLongrope: return {f / at::tensor(s.short_factors, at::kFloat), attention_factor(s)};
    default: return {f};
  }
}

Rotation rotation_of(const RotaryFrequencies& of, const at::Tensor& positions) {
  if (!of.frequencies.defined()) return {};
  const at::Tensor angles =
      positions.to(at::kFloat).unsqueeze(1) * of.frequencies.to(positions.device()).unsqueeze(0);
  Rotation r{angles.cos(), angles.sin()};
  if (of.scale != 1) r.cosines.mul_(of.scale), r.sines.mul_(of.scale);
  return r;
}

}  // namespace cai
