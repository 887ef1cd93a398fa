// Log-probabilities of target tokens without ever holding all logits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace cai {

struct TokenLogProbabilities {
  at::Tensor log_probabilities;  // [n] float32, differentiable in hidden and head
  at::Tensor entropies;          // [n] float32, of the whole next-token distribution; undefined where gradients are recorded
};

/// hidden: [n, width] final normed states; head: [vocabulary, width]; targets: [n] int64. Logits are divided by `temperature`.
/// Computed by chunks of rows: memory is one chunk's logits instead of n x vocabulary. A frozen head's gradient towards hidden is made in
/// the forward pass, while the logits are there; a learning head computes them again in backward.
TokenLogProbabilities token_log_probabilities(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets, double temperature = 1.0);

}  // namespace cai
