#include "cai/train/decision_loss.hpp"

#include <ATen/ATen.h>

#include <algorithm>

namespace cai {

std::vector<const Decision*> add_decisions(AnswerBatch& b, const std::vector<const TrainExample*>& examples) {
  std::vector<const Decision*> decisions;
  std::vector<std::int64_t> rows, targets;
  for (std::size_t k = 0; k < examples.size(); ++k) {
    const std::vector<std::int64_t> own = rows_of(b.packed, k);
    for (const Decision& d : examples[k]->decisions) {
      decisions.push_back(&d);
      for (int token : d.openings) rows.push_back(own[static_cast<std::size_t>(std::max(1, examples[k]->prompt_tokens) - 1 + d.at)]), targets.push_back(token);
    }
  }
  b.rows = at::cat({b.rows, at::tensor(rows, at::kLong)}), b.targets = at::cat({b.targets, at::tensor(targets, at::kLong)});
  return decisions;
}

at::Tensor decision_losses(const at::Tensor& logs, const std::vector<const Decision*>& decisions, double answering_weight) {
  std::vector<std::int64_t> sizes;
  std::vector<float> answering;
  for (const Decision* d : decisions) {
    sizes.push_back(static_cast<std::int64_t>(d->openings.size()));
    answering.push_back(d->declines ? 0.0F : d->at == 0 ? static_cast<float>(answering_weight) : 1.0F);
  }
  std::vector<at::Tensor> masses;
  for (const at::Tensor& openings : logs.split_with_sizes(sizes)) masses.push_back(openings.logsumexp(0));
  const at::Tensor w = at::tensor(answering, at::kFloat), declines = at::stack(masses).clamp_max(-1e-6);  // rounding may put all mass there, where log(1 - mass) has no gradient to leave it by
  return at::where(w.gt(0), -at::log1p(-declines.exp()) * w, -declines);
}

}  // namespace cai
