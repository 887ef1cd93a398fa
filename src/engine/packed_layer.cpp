#include "cai/engine/packed_layer.hpp"

#include <ATen/core/Tensor.h>

#include <cmath>

#include "cai/engine/kernels.hpp"
#include "cai/model/layer.hpp"
#include "cai/model/rotary.hpp"

namespace cai {
namespace {

std::vector<float> joined(std::initializer_list<at::Tensor> parts) {
  std::vector<float> all;
  for (const at::Tensor& t : parts) {
    const std::vector<float> one = floats_of(t);
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

PackedMatrix gated(const at::Tensor& gate, const at::Tensor& up, Precision precision) {
  const at::Tensor g = gate.detach().contiguous(), u = up.detach().contiguous();
  return PackedMatrix::gated(g.data_ptr<float>(), u.data_ptr<float>(), g.size(0), g.size(1), precision);
}

}  // namespace

std::vector<float> floats_of(const at::Tensor& t) {
  if (!t.defined()) return {};
  const at::Tensor c = t.detach().contiguous();
  return {c.data_ptr<float>(), c.data_ptr<float>() + c.numel()};
}

PackedMatrix packed_matrix(std::initializer_list<at::Tensor> parts, Precision precision) {
  std::vector<at::Tensor> kept;
  std::vector<const float*> data;
  std::vector<std::int64_t> outs;
  for (const at::Tensor& t : parts) {
    kept.push_back(t.detach().contiguous());
    data.push_back(kept.back().data_ptr<float>());
    outs.push_back(t.size(0));
  }
  return PackedMatrix(data, outs, kept.front().size(1), precision);
}

PackedLayer::PackedLayer(const LlamaLayer& from, const ModelConfig& config, Precision precision)
    : attention_norm(floats_of(from.attention_norm)),
      attention_post_norm(floats_of(from.attention_post_norm)),
      ffn_norm(floats_of(from.ffn_norm)),
      ffn_post_norm(floats_of(from.ffn_post_norm)),
      qkv_bias(joined({from.q_bias, from.k_bias, from.v_bias})),
      o_bias(floats_of(from.o_bias)),
      q_norm(floats_of(from.q_norm)),
      k_norm(floats_of(from.k_norm)),
      qkv(packed_matrix({from.q, from.k, from.v}, precision)),
      o(packed_matrix({from.o}, precision)),
      gate_up(config.gelu ? packed_matrix({from.gate, from.up}, precision)
                          : gated(from.gate, from.up, precision)),
      down(packed_matrix({from.down}, precision)) {}

Turning::Turning(const ModelConfig& config, std::int64_t layer) {
  const RotaryFrequencies f = rotary_frequencies(config, layer);
  frequencies = floats_of(f.frequencies);
  scale = static_cast<float>(f.scale);
}

void Turning::turn_to(std::int64_t position, std::int64_t r) {
  const std::size_t at = static_cast<std::size_t>(r * half());
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float angle = static_cast<float>(position) * frequencies[i];
    cosines[at + i] = scale * std::cos(angle);
    sines[at + i] = scale * std::sin(angle);
  }
}

void turn_heads(const PackedLayer& layer, const Turning& turning, const ModelConfig& config, std::int64_t r,
                float* row) {
  const std::int64_t width = config.head_width, half = turning.half();
  const float *const c = turning.cosines.data() + r * half, *const s = turning.sines.data() + r * half;
  if (config.qk_norm && config.qk_norm_is_whole) {
    float* const keys = row + config.heads * width;
    rms_norm(row, layer.q_norm.data(), config.heads * width, config.norm_epsilon, row);
    rms_norm(keys, layer.k_norm.data(), config.kv_heads * width, config.norm_epsilon, keys);
  }
  for (std::int64_t h = 0; h < config.heads + config.kv_heads; ++h) {
    float* const x = row + h * width;
    if (config.qk_norm && !config.qk_norm_is_whole)
      rms_norm(x, (h < config.heads ? layer.q_norm : layer.k_norm).data(), width, config.norm_epsilon, x);
    for (std::int64_t i = 0; i < half; ++i) {
      const float a = x[i], b = x[i + half];
      x[i] = a * c[i] - b * s[i];
      x[i + half] = b * c[i] + a * s[i];
    }
  }
}

}  // namespace cai
