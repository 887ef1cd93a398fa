// Log-probabilities of target tokens without ever holding all logits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

namespace cai {

/// The LM head, ready for many products. In bfloat16 it holds rounded copies of the weight: make a new one when the weight has changed.
/// Logits have float32 sums in either case.
class LmHead {
 public:
  /// weight: [vocabulary, width] float32.
  LmHead(const at::Tensor& weight, bool bfloat16 = false);

  /// Of the tokens [first, first + count), all by default; `first` is a multiple of 32. [n, width] -> [n, count].
  at::Tensor logits(const at::Tensor& hidden, std::int64_t first = 0, std::int64_t count = -1) const;

  /// slopes [n, count] of those tokens' logits times their weights: [n, width].
  at::Tensor to_hidden(const at::Tensor& slopes, std::int64_t first = 0) const;

  /// Those weights' gradient: slopes [n, count] transposed times hidden [n, width].
  at::Tensor to_weight(const at::Tensor& slopes, const at::Tensor& hidden) const;

  const at::Tensor& weight() const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

struct TokenLogProbabilities {
  at::Tensor log_probabilities;  // [n] float32, differentiable in hidden and head
  at::Tensor entropies;          // [n] float32, of the whole next-token distribution; undefined where gradients are recorded
};

/// hidden: [n, width] final normed states; targets: [n] int64. Logits are divided by `temperature`.
/// Computed by chunks of rows: memory is one chunk's logits instead of n x vocabulary. A frozen head's gradient towards hidden is made in
/// the forward pass, while the logits are there; a learning head computes them again in backward, by blocks of the vocabulary, so that
/// each part of its gradient is written once.
TokenLogProbabilities token_log_probabilities(const at::Tensor& hidden, const LmHead& head, const at::Tensor& targets, double temperature = 1.0);

/// KL(before || now) of the next-token distributions of each row, [n] float32, differentiable in hidden and head. hidden, before_hidden: [n, width]
/// final normed states. By chunks, as above.
at::Tensor divergences(const at::Tensor& hidden, const LmHead& head, const at::Tensor& before_hidden, const LmHead& before_head);

}  // namespace cai
