#include "cai/train/answers.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "cai/model/tensors.hpp"

namespace cai {

AnswerBatch answer_batch(const std::vector<const TrainExample*>& examples, const at::Device& device) {
  AnswerBatch b;
  std::vector<std::vector<int>> sequences;
  std::vector<std::int64_t> rows, targets;
  std::vector<float> weights;
  for (const TrainExample* e : examples)
    sequences.emplace_back(e->tokens.begin(),
                           e->tokens.end() - 1);  // the last token is predicted, never read
  b.packed = pack(sequences, device);
  for (std::size_t k = 0; k < examples.size(); ++k) {
    const TrainExample& e = *examples[k];
    const std::vector<std::int64_t> own = rows_of(b.packed, k);
    for (std::size_t i = static_cast<std::size_t>(std::max(1, e.prompt_tokens)); i < e.tokens.size(); ++i) {
      rows.push_back(own[i - 1]);
      targets.push_back(e.tokens[i]);
      weights.push_back(static_cast<float>(e.weight));
    }
  }
  b.rows = on(device, rows), b.targets = on(device, targets), b.weights = on(device, weights);
  return b;
}

at::Tensor answer_states(const Llama& model, const AnswerBatch& b, std::int64_t first,
                         const std::vector<at::Tensor>& frozen) {
  at::Tensor hidden;
  if (!frozen.empty()) {
    hidden = packed_states(b.packed, frozen);
  } else if (first > 0) {
    const at::NoGradGuard no_gradients;  // nothing below learns
    hidden = run_layers(model, embed(model, b.packed.tokens), b.packed, 0, first);
  }
  if (first == 0) hidden = embed(model, b.packed.tokens);
  hidden = run_layers(model, hidden, b.packed, first, model.config.layers);
  return head_states(model, hidden.index_select(0, b.rows));
}

at::Tensor answer_log_probabilities(const Llama& model, const LmHead& head, const AnswerBatch& b,
                                    std::int64_t first, const std::vector<at::Tensor>& frozen) {
  return token_log_probabilities(answer_states(model, b, first, frozen), head, b.targets).log_probabilities;
}

std::vector<std::int64_t> lengths_of(const std::vector<const TrainExample*>& examples) {
  std::vector<std::int64_t> lengths;
  for (const TrainExample* e : examples)
    lengths.push_back(static_cast<std::int64_t>(e->tokens.size()) - 1);
  return lengths;
}

}  // namespace cai
