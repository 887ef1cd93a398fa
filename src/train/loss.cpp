#include "cai/train/loss.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include "cai/engine/products.hpp"

namespace cai {

struct LmHead::State {
  at::Tensor weight, rounded;  // rounded: bfloat16, undefined in float32
  PackedMatrix packed;
};

LmHead::LmHead(const at::Tensor& weight, bool bfloat16) {
  auto state = std::make_shared<State>();
  state->weight = weight;
  if (bfloat16) {
    const at::Tensor plain = weight.detach().contiguous();
    const float* data = plain.data_ptr<float>();
    const std::int64_t out = weight.size(0);
    state->rounded = plain.to(at::kBFloat16);
    state->packed = PackedMatrix(std::span(&data, 1), std::span(&out, 1), weight.size(1), Precision::kBfloat16);
  }
  state_ = state;
}

const at::Tensor& LmHead::weight() const { return state_->weight; }

at::Tensor LmHead::logits(const at::Tensor& hidden, std::int64_t first, std::int64_t count) const {
  if (count < 0) count = state_->weight.size(0) - first;
  if (!state_->rounded.defined()) return at::mm(hidden, state_->weight.narrow(0, first, count).t());
  const at::Tensor x = hidden.contiguous();
  at::Tensor y = at::empty({x.size(0), count}, x.options());
  state_->packed.multiply(x.data_ptr<float>(), x.size(0), first, count, y.data_ptr<float>());
  return y;
}

at::Tensor LmHead::to_hidden(const at::Tensor& slopes, std::int64_t first) const {
  const std::int64_t count = slopes.size(1);
  return state_->rounded.defined() ? at::mm(slopes.to(at::kBFloat16), state_->rounded.narrow(0, first, count)).to(at::kFloat) : at::mm(slopes, state_->weight.narrow(0, first, count));
}

at::Tensor LmHead::to_weight(const at::Tensor& slopes, const at::Tensor& hidden) const {
  return state_->rounded.defined() ? at::mm(slopes.to(at::kBFloat16).t(), hidden.to(at::kBFloat16)) : at::mm(slopes.t(), hidden);
}

namespace {

constexpr std::int64_t kChunk = 128;  // rows: 25 MB of logits at a vocabulary of 49,152
constexpr std::int64_t kBlock = 4096;  // tokens: as much, for 1,536 rows

// What autograd keeps of a head from forward to backward.
struct KeptHead : torch::CustomClassHolder {
  explicit KeptHead(const LmHead& h) : head(h) {}
  LmHead head;
};

struct LogProbabilityFunction : torch::autograd::Function<LogProbabilityFunction> {
  // `weight` is the head's: autograd sees a learning head through it.
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight, const LmHead& head,
                                                const at::Tensor& targets, double temperature, bool with_gradient) {
    const auto n = hidden.size(0);
    const bool is_frozen = with_gradient && !weight.requires_grad();
    at::Tensor chosen = at::empty({n}, hidden.options()), entropies = at::empty({with_gradient ? 0 : n}, hidden.options());
    at::Tensor slopes = at::empty({is_frozen ? n : 0, hidden.size(1)}, hidden.options());  // d log p(target) / d hidden
    at::Tensor totals = at::empty({n}, hidden.options());
    for (std::int64_t from = 0; from < n; from += kChunk) {
      const auto rows = std::min(kChunk, n - from);
      at::Tensor logits = head.logits(hidden.narrow(0, from, rows));  // [rows, vocabulary]
      if (temperature != 1) logits.div_(temperature);
      const at::Tensor total = logits.logsumexp(-1);  // [rows]
      totals.narrow(0, from, rows).copy_(total);
      chosen.narrow(0, from, rows).copy_(logits.gather(1, targets.narrow(0, from, rows).unsqueeze(1)).squeeze(1) - total);
      const at::Tensor logs = logits.sub_(total.unsqueeze(1));
      if (!with_gradient) entropies.narrow(0, from, rows).copy_(-(logs.exp() * logs).sum(-1));
      if (is_frozen) slopes.narrow(0, from, rows).copy_(weight.index_select(0, targets.narrow(0, from, rows)).sub_(head.to_hidden(logs.exp_())).div_(temperature));
    }
    if (is_frozen) context->save_for_backward({slopes});
    else context->save_for_backward({hidden, targets, totals}), context->saved_data["head"] = c10::IValue::make_capsule(c10::make_intrusive<KeptHead>(head));
    context->saved_data["temperature"] = temperature;
    context->mark_non_differentiable({entropies});
    return {chosen, entropies};
  }

  // d log p(target) / d logits = onehot - softmax.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor none;
    if (saved.size() == 1) return {saved[0] * gradients[0].unsqueeze(1), none, none, none, none, none};
    const at::Tensor &hidden = saved[0], &targets = saved[1], &totals = saved[2];
    const LmHead head = c10::static_intrusive_pointer_cast<KeptHead>(context->saved_data["head"].toCapsule())->head;
    const double temperature = context->saved_data["temperature"].toDouble();
    const at::Tensor slope = gradients[0].unsqueeze(1) / temperature, total = totals.unsqueeze(1);  // [n, 1]
    at::Tensor d_hidden = at::zeros_like(hidden), d_weight = at::empty_like(head.weight());
    const auto vocabulary = d_weight.size(0);
    for (std::int64_t first = 0; first < vocabulary; first += kBlock) {
      const auto count = std::min(kBlock, vocabulary - first);
      at::Tensor d_logits = head.logits(hidden, first, count);
      if (temperature != 1) d_logits.div_(temperature);
      d_logits.sub_(total).exp_().mul_(-slope);
      const at::Tensor here = targets.ge(first).logical_and(targets.lt(first + count)).unsqueeze(1);
      d_logits.scatter_add_(1, (targets - first).clamp(0, count - 1).unsqueeze(1), slope * here);
      d_hidden.add_(head.to_hidden(d_logits, first));
      d_weight.narrow(0, first, count).copy_(head.to_weight(d_logits, hidden));
    }
    return {d_hidden, d_weight, none, none, none, none};
  }
};

// log-softmax of `logits` [n, vocabulary] in place; their logsumexp [n].
at::Tensor normalise(at::Tensor& logits) {
  const at::Tensor total = logits.logsumexp(-1);
  logits.sub_(total.unsqueeze(1));
  return total;
}

struct DivergenceFunction : torch::autograd::Function<DivergenceFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight, const LmHead& head, const at::Tensor& before_hidden,
                            const LmHead& before_head) {
    const auto n = hidden.size(0);
    const bool is_frozen = !weight.requires_grad();
    at::Tensor divergences = at::empty({n}, hidden.options()), totals = at::empty({n}, hidden.options()), before_totals = at::empty({n}, hidden.options());
    at::Tensor slopes = at::empty({is_frozen ? n : 0, hidden.size(1)}, hidden.options());
    for (std::int64_t from = 0; from < n; from += kChunk) {
      const auto rows = std::min(kChunk, n - from);
      at::Tensor now = head.logits(hidden.narrow(0, from, rows)), before = before_head.logits(before_hidden.narrow(0, from, rows));  // [rows, vocabulary]
      totals.narrow(0, from, rows).copy_(normalise(now));
      before_totals.narrow(0, from, rows).copy_(normalise(before));
      const at::Tensor p = before.exp();
      divergences.narrow(0, from, rows).copy_((p * before.sub_(now)).sum(-1));
      if (is_frozen) slopes.narrow(0, from, rows).copy_(head.to_hidden(now.exp_().sub_(p)));
    }
    if (is_frozen) context->save_for_backward({slopes});
    else {
      context->save_for_backward({hidden, totals, before_hidden, before_totals});
      context->saved_data["head"] = c10::IValue::make_capsule(c10::make_intrusive<KeptHead>(head));
      context->saved_data["before_head"] = c10::IValue::make_capsule(c10::make_intrusive<KeptHead>(before_head));
    }
    return divergences;
  }

  // d KL(before || now) / d logits = softmax(now) - softmax(before).
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor none, slope = gradients[0].unsqueeze(1);
    if (saved.size() == 1) return {saved[0] * slope, none, none, none, none};
    const at::Tensor &hidden = saved[0], &before_hidden = saved[2], total = saved[1].unsqueeze(1), before_total = saved[3].unsqueeze(1);
    const auto head_of = [&](const char* name) { return c10::static_intrusive_pointer_cast<KeptHead>(context->saved_data[name].toCapsule())->head; };
    const LmHead head = head_of("head"), before_head = head_of("before_head");
    at::Tensor d_hidden = at::zeros_like(hidden), d_weight = at::empty_like(head.weight());
    const auto vocabulary = d_weight.size(0);
    for (std::int64_t first = 0; first < vocabulary; first += kBlock) {
      const auto count = std::min(kBlock, vocabulary - first);
      at::Tensor d_logits = head.logits(hidden, first, count).sub_(total).exp_();
      d_logits.sub_(before_head.logits(before_hidden, first, count).sub_(before_total).exp_()).mul_(slope);
      d_hidden.add_(head.to_hidden(d_logits, first));
      d_weight.narrow(0, first, count).copy_(head.to_weight(d_logits, hidden));
    }
    return {d_hidden, d_weight, none, none, none};
  }
};

}  // namespace

at::Tensor divergences(const at::Tensor& hidden, const LmHead& head, const at::Tensor& before_hidden, const LmHead& before_head) {
  return DivergenceFunction::apply(hidden, head.weight(), head, before_hidden, before_head);
}

TokenLogProbabilities token_log_probabilities(const at::Tensor& hidden, const LmHead& head, const at::Tensor& targets, double temperature) {
  const bool with_gradient = at::GradMode::is_enabled() && (hidden.requires_grad() || head.weight().requires_grad());
  const auto results = LogProbabilityFunction::apply(hidden, head.weight(), head, targets, temperature, with_gradient);
  return {results[0], with_gradient ? at::Tensor() : results[1]};
}

}  // namespace cai
