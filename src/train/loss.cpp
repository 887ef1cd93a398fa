#include "cai/train/loss.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace cai {
namespace {

constexpr std::int64_t kChunk = 256;  // rows: 50 MB of logits at a vocabulary of 49,152

struct LogProbabilityFunction : torch::autograd::Function<LogProbabilityFunction> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden, const at::Tensor& head,
                                                const at::Tensor& targets, double temperature, bool with_gradient) {
    const auto n = hidden.size(0);
    const bool is_frozen = with_gradient && !head.requires_grad();
    at::Tensor chosen = at::empty({n}, hidden.options()), entropies = at::empty({with_gradient ? 0 : n}, hidden.options());
    at::Tensor slopes = at::empty({is_frozen ? n : 0, hidden.size(1)}, hidden.options());  // d log p(target) / d hidden
    for (std::int64_t from = 0; from < n; from += kChunk) {
      const auto rows = std::min(kChunk, n - from);
      at::Tensor logits = at::mm(hidden.narrow(0, from, rows), head.t());  // [rows, vocabulary]
      if (temperature != 1) logits.div_(temperature);
      const at::Tensor total = logits.logsumexp(-1);  // [rows]
      chosen.narrow(0, from, rows).copy_(logits.gather(1, targets.narrow(0, from, rows).unsqueeze(1)).squeeze(1) - total);
      const at::Tensor logs = logits.sub_(total.unsqueeze(1));
      if (!with_gradient) entropies.narrow(0, from, rows).copy_(-(logs.exp() * logs).sum(-1));
      if (is_frozen) {
        at::Tensor slope = slopes.narrow(0, from, rows);
        at::mm_out(slope, logs.exp_(), head);
        slope.neg_().add_(head.index_select(0, targets.narrow(0, from, rows))).div_(temperature);
      }
    }
    if (is_frozen) context->save_for_backward({slopes});
    else context->save_for_backward({hidden, head, targets});
    context->saved_data["temperature"] = temperature;
    context->mark_non_differentiable({entropies});
    return {chosen, entropies};
  }

  // d log p(target) / d logits = onehot - softmax.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    if (saved.size() == 1) return {saved[0] * gradients[0].unsqueeze(1), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
    const at::Tensor &hidden = saved[0], &head = saved[1], &targets = saved[2];
    const double temperature = context->saved_data["temperature"].toDouble();
    const at::Tensor gradient = gradients[0];
    at::Tensor d_hidden = at::empty_like(hidden), d_head = at::zeros_like(head);
    const auto n = hidden.size(0);
    for (std::int64_t from = 0; from < n; from += kChunk) {
      const auto rows = std::min(kChunk, n - from);
      const at::Tensor h = hidden.narrow(0, from, rows), g = gradient.narrow(0, from, rows).unsqueeze(1) / temperature;
      at::Tensor logits = at::mm(h, head.t());
      if (temperature != 1) logits.div_(temperature);
      at::Tensor d_logits = logits.softmax(-1).mul_(-g);
      d_logits.scatter_add_(1, targets.narrow(0, from, rows).unsqueeze(1), g);
      d_hidden.narrow(0, from, rows).copy_(at::mm(d_logits, head));
      d_head.addmm_(d_logits.t(), h);
    }
    return {d_hidden, d_head, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

TokenLogProbabilities token_log_probabilities(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets, double temperature) {
  const bool with_gradient = at::GradMode::is_enabled() && (hidden.requires_grad() || head.requires_grad());
  const auto results = LogProbabilityFunction::apply(hidden, head, targets, temperature, with_gradient);
  return {results[0], with_gradient ? at::Tensor() : results[1]};
}

}  // namespace cai
