// Answers as training reads them: sequences end to end, and the log-probability of each answer token.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "cai/model/llama.hpp"
#include "cai/train/loss.hpp"
#include "cai/train/train.hpp"

namespace cai {

/// Several examples as one pass, and which of its rows predict a token that counts.
struct AnswerBatch {
  Packed packed;
  at::Tensor rows, targets, weights;  // [answer tokens] int64, int64, float32
};

/// With its tensors on `device`, the model's.
AnswerBatch answer_batch(const std::vector<const TrainExample*>& examples, const at::Device& device);

/// [answer tokens, width] final normed states of the batch's rows, in the examples' order. Layers below
/// `first` run without gradients, or not at all when `frozen` holds their states, one [length, width] an
/// example.
at::Tensor answer_states(const Llama& model, const AnswerBatch& batch, std::int64_t first,
                         const std::vector<at::Tensor>& frozen = {});

/// [answer tokens] float32, end to end in the examples' order.
at::Tensor answer_log_probabilities(const Llama& model, const LmHead& head, const AnswerBatch& batch,
                                    std::int64_t first, const std::vector<at::Tensor>& frozen = {});

/// Tokens that an example's pass reads: all but the last, which is predicted only.
std::vector<std::int64_t> lengths_of(const std::vector<const TrainExample*>& examples);

}  // namespace cai
