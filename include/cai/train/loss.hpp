// Log-probabilities of target tokens without ever holding all logits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "cai/train/lm_head.hpp"

namespace cai {

struct TokenLogProbabilities {
  at::Tensor log_probabilities;  // [n] float32, differentiable in hidden; a head that learns does
  at::Tensor
      entropies;  // [n] float32, of the whole next-token distribution; undefined where gradients are recorded
  at::Tensor divergences;  // [n] float32, KL(before || now) of it or KL(now || before), differentiable alike;
                           // undefined without `before`
};

/// What a model said of next tokens, row by row, as far as a divergence from it needs that. With a frozen
/// head W and no cap, of the probabilities p only W^T p is needed: sum p log q = h W^T p - logsumexp(h W^T),
/// so a later divergence costs no product of its own.
struct NextTokens {
  LmHead head;
  at::Tensor hidden;    // [n, width] final states; where the head learns or caps, or the divergence is KL(now
                        // || before)
  at::Tensor expected;  // [n, width] W^T p; where none of this holds
  at::Tensor offsets;   // [n] what makes the divergence of those states from themselves 0
  bool reverse = false;  // whether the divergence is KL(now || before)

  NextTokens rows(std::int64_t first, std::int64_t count) const;  ///< a copy
};

/// Of final normed states [n, width]. targets: [n] int64, those that the divergence is asked with later: with
/// others it is right to rounding only, and not 0 of a model from itself. `head_learns`: whether it will, in
/// the model that is compared later. `reverse`: of KL(now || before).
NextTokens next_tokens(const at::Tensor& hidden, const LmHead& head, const at::Tensor& targets,
                       double temperature, bool head_learns, bool reverse = false);

/// End to end; of the same head, and at least one.
NextTokens joined(const std::vector<NextTokens>& parts);

/// hidden: [n, width] final normed states; targets: [n] int64. Logits are divided by `temperature`.
/// Computed by chunks of rows: memory is one chunk's logits instead of n x vocabulary. A frozen head's
/// gradient towards hidden is made in the forward pass, while the logits are there; a learning head's in
/// backward, by blocks of the vocabulary, from 2 bytes a logit that are kept in bfloat16 and from logits that
/// are made again in float32. The head's weight is a leaf whose gradient is added to there. `before`: [n]
/// rows at the same temperature, made for a head that learns or not as this one does.
TokenLogProbabilities token_log_probabilities(const at::Tensor& hidden, const LmHead& head,
                                              const at::Tensor& targets, double temperature = 1.0,
                                              const NextTokens* before = nullptr);

}  // namespace cai
