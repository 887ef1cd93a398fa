// The loss on whether an answer declines (train/train.hpp has the formula).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "cai/train/answers.hpp"
#include "cai/train/train.hpp"

namespace cai {

/// Adds the row before each decision to the batch, once for each of its openings. Returns the decisions, in the examples' order.
std::vector<const Decision*> add_decisions(AnswerBatch& batch, const std::vector<const TrainExample*>& examples);

/// logs: the log-probabilities of the openings of `decisions`, one after the other. [decisions] float32.
at::Tensor decision_losses(const at::Tensor& logs, const std::vector<const Decision*>& decisions, double answering_weight);

}  // namespace cai
