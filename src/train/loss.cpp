#include "cai/train/loss.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace cai {
namespace {

constexpr std::int64_t kChunk = 256;  // rows: 50 MB of logits at a vocabulary of 49,152

struct LogProbabilityFunction : torch::autograd::Function<LogProbabilityFunction> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden, const at::Tensor& head,
                                                const at::Tensor& targets, double temperature) {
    const auto n = hidden.size(0);
    at::Tensor chosen = at::empty({n}, hidden.options()), entropies = at::empty({n}, hidden.options());
    for (std::int64_t from = 0; from < n; from += kChunk) {
      const auto rows = std::min(kChunk, n - from);
      at::Tensor logits = at::mm(hidden.narrow(0, from, rows), head.t());  // [rows, vocabulary]
      if (temperature != 1) logits.div_(temperature);
      const at::Tensor total = logits.logsumexp(-1);  // [rows]
      chosen.narrow(0, from, rows).copy_(logits.gather(1, targets.narrow(0, from, rows).unsqueeze(1)).squeeze(1) - total);
      const at::Tensor logs = logits.sub_(total.unsqueeze(1));
      entropies.narrow(0, from, rows).copy_(-(logs.exp() * logs).sum(-1));
    }
    context->save_for_backward({hidden, head, targets});
    context->saved_data["temperature"] = temperature;
    context->mark_non_differentiable({entropies});
    return {chosen, entropies};
  }

  // d log p(target) / d logits = onehot - softmax.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &hidden = saved[0], &head = saved[1], &targets = saved[2];
    const double temperature = context->saved_data["temperature"].toDouble();
    const at::Tensor gradient = gradients[0];
    const bool for_head = context->needs_input_grad(1);
    at::Tensor d_hidden = at::empty_like(hidden), d_head = for_head ? at::zeros_like(head) : at::Tensor();
    const auto n = hidden.size(0);
    for (std::int64_t from = 0; from < n; from += kChunk) {
      const auto rows = std::min(kChunk, n - from);
      const at::Tensor h = hidden.narrow(0, from, rows), g = gradient.narrow(0, from, rows).unsqueeze(1) / temperature;
      at::Tensor logits = at::mm(h, head.t());
      if (temperature != 1) logits.div_(temperature);
      at::Tensor d_logits = logits.softmax(-1).mul_(-g);
      d_logits.scatter_add_(1, targets.narrow(0, from, rows).unsqueeze(1), g);
      d_hidden.narrow(0, from, rows).copy_(at::mm(d_logits, head));
      if (for_head) d_head.addmm_(d_logits.t(), h);
    }
    return {d_hidden, d_head, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

TokenLogProbabilities token_log_probabilities(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets, double temperature) {
  const auto results = LogProbabilityFunction::apply(hidden, head, targets, temperature);
  return {results[0], results[1]};
}

}  // namespace cai
