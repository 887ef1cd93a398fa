// The loss on whether an answer declines (train/train.hpp has the formula).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "cai/train/answers.hpp"
#include "cai/train/lm_head.hpp"
#include "cai/train/train.hpp"

namespace cai {

/// Adds the row before each decision to the batch's rows, not to its targets. Returns the decisions, in the
/// examples' order.
std::vector<const Decision*> add_decisions(AnswerBatch& batch,
                                           const std::vector<const TrainExample*>& examples);

/// Log-odds that the next token is one of a set: log(sum of p within it) - log(sum of p outside). [n]
/// float32. hidden: [n, width] final normed states; sets: of each row, at least one token and not all.
/// Differentiable in hidden; a head that learns does. The gradient is the difference of the two sides'
/// expectations, never made of 1 - p: it is as exact in bfloat16 where one side is nearly certain as
/// elsewhere.
at::Tensor log_odds(const at::Tensor& hidden, const LmHead& head, const std::vector<std::vector<int>>& sets);

/// With l the log-odds of declining: -log d = log(1 + exp(-l)) where the example declines, -log(1 - d) =
/// log(1 + exp(l)) where it answers. hidden: [decisions, width], the rows that add_decisions added.
/// [decisions] float32.
at::Tensor decision_losses(const at::Tensor& hidden, const LmHead& head,
                           const std::vector<const Decision*>& decisions, double answering_weight);

}  // namespace cai
