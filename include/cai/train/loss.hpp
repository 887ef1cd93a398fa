// Log-probabilities of target tokens without ever holding all logits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace cai {

/// The LM head, ready for many products. In bfloat16 it holds rounded copies of the weight: refresh() it when the weight has changed.
/// Logits have float32 sums in either case.
class LmHead {
 public:
  /// weight: [vocabulary, width] float32. cap > 0: a logit x becomes cap tanh(x / cap).
  LmHead(const at::Tensor& weight, bool bfloat16 = false, double cap = 0);

  /// Rounds the weight anew.
  void refresh();

  /// Of the tokens [first, first + count), all by default; `first` is a multiple of 32. [n, width] -> [n, count].
  at::Tensor logits(const at::Tensor& hidden, std::int64_t first = 0, std::int64_t count = -1) const;

  /// slopes [n, count] of those tokens' logits, float32 or (of a head in bfloat16) bfloat16, times their weights: [n, width] float32.
  at::Tensor to_hidden(const at::Tensor& slopes, std::int64_t first = 0) const;

  /// What a slope towards a capped logit is multiplied with on its way to the logit: [n, count]. Where there is a cap only.
  at::Tensor slopes_of_cap(const at::Tensor& capped) const;

  /// Adds to those weights' gradient, where they learn: slopes [n, count] transposed times hidden [n, width], each float32 or (of a head in bfloat16) bfloat16.
  void learn(const at::Tensor& slopes, const at::Tensor& hidden, std::int64_t first) const;

  const at::Tensor& weight() const;
  bool is_bfloat16() const;
  double cap() const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

struct TokenLogProbabilities {
  at::Tensor log_probabilities;  // [n] float32, differentiable in hidden; a head that learns does
  at::Tensor entropies;          // [n] float32, of the whole next-token distribution; undefined where gradients are recorded
  at::Tensor divergences;        // [n] float32, KL(before || now) of it, differentiable alike; undefined without `before`
};

/// What a model said of next tokens, row by row, as far as a divergence from it needs that. With a frozen head W and no cap, of the probabilities p only
/// W^T p is needed: sum p log q = h W^T p - logsumexp(h W^T), so a later divergence costs no product of its own.
struct NextTokens {
  LmHead head;
  at::Tensor hidden;    // [n, width] final states; where the head learns or caps
  at::Tensor expected;  // [n, width] W^T p; where it does neither
  at::Tensor offsets;   // [n] what makes the divergence of those states from themselves 0

  NextTokens rows(std::int64_t first, std::int64_t count) const;  ///< a copy
};

/// Of final normed states [n, width]. `head_learns`: whether it will, in the model that is compared later.
NextTokens next_tokens(const at::Tensor& hidden, const LmHead& head, double temperature, bool head_learns);

/// End to end; of the same head, and at least one.
NextTokens joined(const std::vector<NextTokens>& parts);

/// hidden: [n, width] final normed states; targets: [n] int64. Logits are divided by `temperature`.
/// Computed by chunks of rows: memory is one chunk's logits instead of n x vocabulary. A frozen head's gradient towards hidden is made in
/// the forward pass, while the logits are there; a learning head's in backward, by blocks of the vocabulary, from 2 bytes a logit that are kept in
/// bfloat16 and from logits that are made again in float32. The head's weight is a leaf whose gradient is added to there. `before`: [n] rows at the same temperature, made for a head that learns or not as this one does.
TokenLogProbabilities token_log_probabilities(const at::Tensor& hidden, const LmHead& head, const at::Tensor& targets, double temperature = 1.0, const NextTokens* before = nullptr);

}  // namespace cai
