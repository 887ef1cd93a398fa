#include <ATen/ATen.h>

#include "cai/train/ppo.hpp"

namespace cai {

double adam_epsilon(const PpoConfig& config, std::int64_t learning_weights) {
  if (config.epsilon > 0) return config.epsilon;
  return learning_weights < 100'000'000 ? 1e-5 : 1e-8;
}

at::Tensor sampled_kl(const at::Tensor& log_new, const at::Tensor& log_reference) {
  const at::Tensor d = (log_reference - log_new).clamp(-20, 20);
  return (d.exp() - d - 1).sum();
}

PpoLosses ppo_losses(const at::Tensor& log_new, const at::Tensor& log_old, const at::Tensor& advantages,
                     const at::Tensor& value_new, const at::Tensor& value_old, const at::Tensor& returns,
                     double clip_ratio, double clip_value) {
  PpoLosses l;
  if (log_new.defined()) {
    const at::Tensor log_ratio = log_new - log_old, ratio = log_ratio.exp();
    l.policy = at::max(-advantages * ratio, -advantages * ratio.clamp(1 - clip_ratio, 1 + clip_ratio)).sum();
    const at::Tensor seen = ratio.detach();
    l.clipped = at::where(advantages.gt(0), seen.gt(1 + clip_ratio),
                          advantages.lt(0).logical_and(seen.lt(1 - clip_ratio)))
                    .sum()
                    .item<double>();
    l.approximate_kl = 0.5 * log_ratio.detach().square().sum().item<double>();
  }
  if (value_new.defined()) {
    const at::Tensor held = at::max(at::min(value_new, value_old + clip_value), value_old - clip_value);
    l.value = 0.5 * at::max((value_new - returns).square(), (held - returns).square()).sum();
    l.value_clipped =
        (held.detach() - returns).square().gt((value_new.detach() - returns).square()).sum().item<double>();
  }
  return l;
}

}  // namespace cai
