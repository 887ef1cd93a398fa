#include "cai/train/loss.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include "cai/engine/kernels.hpp"
#include "cai/engine/products.hpp"
#include "cai/model/half_products.hpp"

namespace cai {

struct LmHead::State {
  at::Tensor weight;
  bool is_bfloat16;
  double cap;
  PackedMatrix packed;   // in bfloat16
  at::Tensor rounded;    // the same, of a frozen head; of one that learns each block is rounded when it is asked for
};

namespace {

at::Tensor in_halves(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16 ? x : rounded_rows(x); }

}  // namespace

LmHead::LmHead(const at::Tensor& weight, bool bfloat16, double cap) {
  auto state = std::make_shared<State>(State{weight, bfloat16, cap, {}, {}});
  if (bfloat16) {
    const at::Tensor plain = weight.detach().contiguous();
    const float* data = plain.data_ptr<float>();
    const std::int64_t out = weight.size(0);
    state->packed = PackedMatrix(std::span(&data, 1), std::span(&out, 1), weight.size(1), Precision::kBfloat16);
    if (!weight.requires_grad()) state->rounded = plain.to(at::kBFloat16);
  }
  state_ = state;
}

void LmHead::refresh() {
  const at::Tensor weight = state_->weight;
  const bool bfloat16 = is_bfloat16();
  const double soft_cap = cap();
  state_.reset();  // first, so that the new copies take the place of the old ones
  *this = LmHead(weight, bfloat16, soft_cap);
}

const at::Tensor& LmHead::weight() const { return state_->weight; }
bool LmHead::is_bfloat16() const { return state_->is_bfloat16; }
double LmHead::cap() const { return state_->cap; }

at::Tensor LmHead::logits(const at::Tensor& hidden, std::int64_t first, std::int64_t count) const {
  if (count < 0) count = state_->weight.size(0) - first;
  const auto capped = [&](at::Tensor y) { return cap() > 0 ? y.div_(cap()).tanh_().mul_(cap()) : y; };
  if (!is_bfloat16()) return capped(at::mm(hidden, state_->weight.narrow(0, first, count).t()));
  const at::Tensor x = hidden.contiguous();
  at::Tensor y = at::empty({x.size(0), count}, x.options());
  state_->packed.multiply(x.data_ptr<float>(), x.size(0), first, count, y.data_ptr<float>());
  return capped(y);
}

at::Tensor LmHead::slopes_of_cap(const at::Tensor& capped) const { return 1 - (capped / cap()).square_(); }

at::Tensor LmHead::to_hidden(const at::Tensor& slopes, std::int64_t first) const {
  const at::Tensor rows = (state_->rounded.defined() ? state_->rounded : state_->weight.detach()).narrow(0, first, slopes.size(1));
  return is_bfloat16() ? float_rows(product(in_halves(slopes), in_halves(rows).narrow(0, 0, rows.size(0))), slopes.size(0)) : at::mm(slopes, rows);
}

void LmHead::learn(const at::Tensor& slopes, const at::Tensor& hidden, std::int64_t first) const {
  at::Tensor weight = state_->weight;
  if (!weight.requires_grad()) return;
  at::Tensor& gradient = weight.mutable_grad();
  if (!gradient.defined()) gradient = at::zeros_like(weight);
  at::Tensor rows = gradient.narrow(0, first, slopes.size(1));
  if (is_bfloat16()) add_halves_to(rows, product(in_halves(slopes).t(), in_halves(hidden)));
  else rows.addmm_(slopes.t(), hidden);
}

namespace {

constexpr std::int64_t kChunk = 128;  // rows: 25 MB of logits at a vocabulary of 49,152
constexpr std::int64_t kBlock = 4096;  // tokens: as much, for 1,536 rows

// What autograd keeps of a head from forward to backward.
struct KeptHead : torch::CustomClassHolder {
  explicit KeptHead(const LmHead& h) : head(h) {}
  LmHead head;
};

// log(sum(exp(row))) of each row of `logits` [n, width]: [n].
at::Tensor log_sums(const at::Tensor& logits) {
  at::Tensor totals = at::empty({logits.size(0)}, logits.options());
  const auto width = logits.size(1);
  const float* const from = logits.data_ptr<float>();
  float* const to = totals.data_ptr<float>();
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < logits.size(0); ++r) to[r] = static_cast<float>(log_sum_exp(from + r * width, width));
  return totals;
}

// Logits become probabilities: exp(row - its total), in place.
at::Tensor& exponentiate(at::Tensor& logits, const at::Tensor& totals) {
  const auto width = logits.size(1);
  const float* const total = totals.data_ptr<float>();
  float* const rows = logits.data_ptr<float>();
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < logits.size(0); ++r) exp_shifted(rows + r * width, width, total[r], 1, rows + r * width);
  return logits;
}

// What each row's log-softmax has at its target: [n].
at::Tensor chosen_of(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& totals) { return logits.gather(1, targets.unsqueeze(1)).squeeze(1).sub_(totals); }

// log-softmax of `logits` [n, vocabulary] in place; their logsumexp [n].
at::Tensor normalise(at::Tensor& logits) {
  const at::Tensor total = log_sums(logits);
  logits.sub_(total.unsqueeze(1));
  return total;
}

c10::IValue kept(const LmHead& head) { return c10::IValue::make_capsule(c10::make_intrusive<KeptHead>(head)); }
const LmHead& head_in(const c10::IValue& value) { return c10::static_intrusive_pointer_cast<KeptHead>(value.toCapsule())->head; }

// A frozen head: what each row adds to the gradient of `hidden` is made in the forward pass, while the logits are there. With `before` the divergences
// from it come out of the same logits.
struct FrozenHeadFunction : torch::autograd::Function<FrozenHeadFunction> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden, const LmHead& head, const at::Tensor& targets, double temperature,
                                                const NextTokens* before) {
    const auto n = hidden.size(0);
    at::Tensor chosen = at::empty({n}, hidden.options()), slopes = at::empty_like(hidden);  // slopes: d log p(target) / d hidden
    at::Tensor divergences = at::empty({before ? n : 0}, hidden.options()), divergence_slopes = at::empty({before ? n : 0, hidden.size(1)}, hidden.options());
    for (std::int64_t from = 0; from < n; from += kChunk) {
      const auto rows = std::min(kChunk, n - from);
      const at::Tensor h = hidden.narrow(0, from, rows), target = targets.narrow(0, from, rows);
      at::Tensor logits = head.logits(h);  // [rows, vocabulary]
      if (temperature != 1) logits.div_(temperature);
      const at::Tensor total = log_sums(logits);
      chosen.narrow(0, from, rows).copy_(chosen_of(logits, target, total));
      const at::Tensor expected = head.to_hidden(exponentiate(logits, total));  // of the policy's next token
      slopes.narrow(0, from, rows).copy_(head.weight().index_select(0, target).sub_(expected).div_(temperature));
      if (!before) continue;
      const at::Tensor then = before->expected.narrow(0, from, rows);
      divergences.narrow(0, from, rows).copy_(total - (h * then).sum(-1).div_(temperature) - before->offsets.narrow(0, from, rows));
      divergence_slopes.narrow(0, from, rows).copy_((expected - then).div_(temperature));
    }
    context->save_for_backward({slopes, divergence_slopes});
    return {chosen, divergences};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    at::Tensor d_hidden;
    if (gradients[0].defined()) d_hidden = saved[0] * gradients[0].unsqueeze(1);
    if (saved[1].size(0) > 0 && gradients[1].defined()) {
      const at::Tensor of_divergences = saved[1] * gradients[1].unsqueeze(1);
      d_hidden = d_hidden.defined() ? d_hidden.add_(of_divergences) : of_divergences;
    }
    const at::Tensor none;
    return {d_hidden, none, none, none, none};
  }
};

// A learning head, or one that caps. In bfloat16 what each logit's slope is made of waits for the backward pass, rounded as its products take it; in float32 that would be
// too much, and logits are made again. `weight` is the head's: autograd sees through it that the head learns.
struct LearningHeadFunction : torch::autograd::Function<LearningHeadFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight, const LmHead& head, const at::Tensor& targets, double temperature) {
    const auto n = hidden.size(0), vocabulary = weight.size(0);
    at::Tensor chosen = at::empty({n}, hidden.options()), totals = at::empty({n}, hidden.options());
    std::vector<at::Tensor> errors;  // softmax - onehot, by blocks of the vocabulary: one tensor would need a large hole in memory
    for (std::int64_t first = 0; head.is_bfloat16() && first < vocabulary; first += kBlock) errors.push_back(half_rows(n, std::min(kBlock, vocabulary - first)));
    for (std::int64_t from = 0; from < n; from += kChunk) {
      const auto rows = std::min(kChunk, n - from);
      at::Tensor logits = head.logits(hidden.narrow(0, from, rows));
      const at::Tensor through = head.cap() > 0 ? head.slopes_of_cap(logits) : at::Tensor();
      if (temperature != 1) logits.div_(temperature);
      const at::Tensor total = log_sums(logits), target = targets.narrow(0, from, rows);
      totals.narrow(0, from, rows).copy_(total);
      chosen.narrow(0, from, rows).copy_(chosen_of(logits, target, total));
      if (errors.empty()) continue;
      by_row(rows, [&](std::int64_t r) {
        float* const row = floats(logits) + r * vocabulary;
        exp_shifted(row, vocabulary, floats(total)[r], 1, row);
        row[target.data_ptr<std::int64_t>()[r]] -= 1;
        for (std::int64_t i = 0; i < vocabulary && through.defined(); ++i) row[i] *= floats(through)[r * vocabulary + i];
        for (std::size_t b = 0; b < errors.size(); ++b) to_halves(row + static_cast<std::int64_t>(b) * kBlock, errors[b].size(1), halves(errors[b]) + (from + r) * errors[b].size(1));
      });
    }
    errors.insert(errors.end(), {hidden, targets, totals});
    context->save_for_backward(errors);
    context->saved_data["head"] = kept(head), context->saved_data["temperature"] = temperature;
    return chosen;
  }

  // d log p(target) / d logits = onehot - softmax.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor none, &hidden = saved[saved.size() - 3], &targets = saved[saved.size() - 2], &totals = saved.back();
    const LmHead head = head_in(context->saved_data["head"]);
    const double temperature = context->saved_data["temperature"].toDouble();
    const at::Tensor slope = gradients[0].unsqueeze(1) / temperature, against = -slope;  // [n, 1]
    at::Tensor d_hidden = at::zeros_like(hidden);
    const auto vocabulary = head.weight().size(0);
    if (head.is_bfloat16()) {  // what a row's slopes have in common stays out of the products' larger sides
      const at::Tensor scaled = rounded_rows(hidden * against);
      for (std::int64_t first = 0; first < vocabulary; first += kBlock) {
        const at::Tensor& errors = saved[static_cast<std::size_t>(first / kBlock)];
        d_hidden.add_(head.to_hidden(errors, first).narrow(0, 0, hidden.size(0)));
        head.learn(errors, scaled, first);
      }
      return {d_hidden.mul_(against), none, none, none, none};
    }
    for (std::int64_t first = 0; first < vocabulary; first += kBlock) {
      const auto count = std::min(kBlock, vocabulary - first);
      at::Tensor d_logits = head.logits(hidden, first, count);
      const at::Tensor through = head.cap() > 0 ? head.slopes_of_cap(d_logits) : at::Tensor();
      if (temperature != 1) d_logits.div_(temperature);
      exponentiate(d_logits, totals).mul_(against);
      const at::Tensor here = targets.ge(first).logical_and(targets.lt(first + count)).unsqueeze(1);
      d_logits.scatter_add_(1, (targets - first).clamp(0, count - 1).unsqueeze(1), slope * here);
      if (through.defined()) d_logits.mul_(through);
      d_hidden.add_(head.to_hidden(d_logits, first));
      head.learn(d_logits, hidden, first);
    }
    return {d_hidden, none, none, none, none};
  }
};

// The same for KL(before || now).
struct LearningHeadDivergenceFunction : torch::autograd::Function<LearningHeadDivergenceFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight, const LmHead& head, const at::Tensor& before_hidden,
                            const LmHead& before_head, double temperature) {
    const auto n = hidden.size(0);
    at::Tensor divergences = at::empty({n}, hidden.options()), totals = at::empty({n}, hidden.options()), before_totals = at::empty({n}, hidden.options());
    for (std::int64_t from = 0; from < n; from += kChunk) {
      const auto rows = std::min(kChunk, n - from);
      at::Tensor now = head.logits(hidden.narrow(0, from, rows)).div_(temperature), before = before_head.logits(before_hidden.narrow(0, from, rows)).div_(temperature);
      totals.narrow(0, from, rows).copy_(normalise(now));
      before_totals.narrow(0, from, rows).copy_(normalise(before));
      divergences.narrow(0, from, rows).copy_((before.exp() * (before - now)).sum(-1));
    }
    context->save_for_backward({hidden, totals, before_hidden, before_totals});
    context->saved_data["head"] = kept(head), context->saved_data["before_head"] = kept(before_head), context->saved_data["temperature"] = temperature;
    return divergences;
  }

  // d KL(before || now) / d logits = softmax(now) - softmax(before).
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const double temperature = context->saved_data["temperature"].toDouble();
    const at::Tensor none, slope = gradients[0].unsqueeze(1) / temperature;
    const at::Tensor &hidden = saved[0], &total = saved[1], &before_hidden = saved[2], &before_total = saved[3];
    const LmHead head = head_in(context->saved_data["head"]), before_head = head_in(context->saved_data["before_head"]);
    at::Tensor d_hidden = at::zeros_like(hidden);
    const auto vocabulary = head.weight().size(0);
    for (std::int64_t first = 0; first < vocabulary; first += kBlock) {
      const auto count = std::min(kBlock, vocabulary - first);
      at::Tensor d_logits = head.logits(hidden, first, count);
      const at::Tensor through = head.cap() > 0 ? head.slopes_of_cap(d_logits) : at::Tensor();
      at::Tensor before = before_head.logits(before_hidden, first, count).div_(temperature);
      exponentiate(d_logits.div_(temperature), total).sub_(exponentiate(before, before_total)).mul_(slope);
      if (through.defined()) d_logits.mul_(through);
      d_hidden.add_(head.to_hidden(d_logits, first));
      head.learn(d_logits, hidden, first);
    }
    return {d_hidden, none, none, none, none, none};
  }
};

// Entropy of the softmax of a row whose logsumexp is `total`: sum of p (total - x).
float entropy_of(const float* x, std::int64_t width, float total) {
  float part[kSumBlock];
  double entropy = 0;
  for (std::int64_t i = 0; i < width; i += kSumBlock) {
    const std::int64_t n = std::min(kSumBlock, width - i);
    exp_shifted(x + i, n, total, 1, part);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t k = 0; k < n; ++k) sum += part[k] * (total - x[i + k]);
    entropy += sum;
  }
  return static_cast<float>(entropy);
}

// Without gradients: entropies too.
TokenLogProbabilities measured(const at::Tensor& hidden, const LmHead& head, const at::Tensor& targets, double temperature) {
  const auto n = hidden.size(0);
  TokenLogProbabilities t{at::empty({n}, hidden.options()), at::empty({n}, hidden.options()), {}};
  for (std::int64_t from = 0; from < n; from += kChunk) {
    const auto rows = std::min(kChunk, n - from);
    at::Tensor logits = head.logits(hidden.narrow(0, from, rows));
    if (temperature != 1) logits.div_(temperature);
    const at::Tensor total = log_sums(logits);
    t.log_probabilities.narrow(0, from, rows).copy_(chosen_of(logits, targets.narrow(0, from, rows), total));
    const auto width = logits.size(1);
    const float *const x = logits.data_ptr<float>(), *const totals = total.data_ptr<float>();
    float* const entropies = t.entropies.data_ptr<float>() + from;
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < rows; ++r) entropies[r] = entropy_of(x + r * width, width, totals[r]);
  }
  return t;
}

}  // namespace

NextTokens next_tokens(const at::Tensor& hidden, const LmHead& head, double temperature, bool head_learns) {
  if (head_learns || head.cap() > 0) return {head, hidden, {}, {}};
  const at::NoGradGuard no_gradients;
  NextTokens t{head, {}, at::empty_like(hidden), at::empty({hidden.size(0)}, hidden.options())};
  for (std::int64_t from = 0; from < hidden.size(0); from += kChunk) {
    const auto rows = std::min(kChunk, hidden.size(0) - from);
    const at::Tensor h = hidden.narrow(0, from, rows);
    at::Tensor logits = head.logits(h);
    if (temperature != 1) logits.div_(temperature);
    const at::Tensor total = log_sums(logits), expected = head.to_hidden(exponentiate(logits, total));
    t.expected.narrow(0, from, rows).copy_(expected);
    t.offsets.narrow(0, from, rows).copy_(total - (h * expected).sum(-1).div_(temperature));
  }
  return t;
}

NextTokens NextTokens::rows(std::int64_t first, std::int64_t count) const {
  const auto part = [&](const at::Tensor& t) { return t.defined() ? t.narrow(0, first, count).clone() : t; };
  return {head, part(hidden), part(expected), part(offsets)};
}

NextTokens joined(const std::vector<NextTokens>& parts) {
  const auto all = [&](at::Tensor NextTokens::*member) {
    std::vector<at::Tensor> tensors;
    for (const NextTokens& p : parts) tensors.push_back(p.*member);
    return tensors.front().defined() ? at::cat(tensors) : at::Tensor();
  };
  return {parts.front().head, all(&NextTokens::hidden), all(&NextTokens::expected), all(&NextTokens::offsets)};
}

TokenLogProbabilities token_log_probabilities(const at::Tensor& hidden, const LmHead& head, const at::Tensor& targets, double temperature, const NextTokens* before) {
  const bool head_learns = head.weight().requires_grad();
  if (!at::GradMode::is_enabled() || (!hidden.requires_grad() && !head_learns)) return measured(hidden, head, targets, temperature);
  if (!head_learns && head.cap() == 0) {
    const auto results = FrozenHeadFunction::apply(hidden, head, targets, temperature, before);
    return {results[0], {}, before ? results[1] : at::Tensor()};
  }
  TokenLogProbabilities t{LearningHeadFunction::apply(hidden, head.weight(), head, targets, temperature), {}, {}};
  if (before) t.divergences = LearningHeadDivergenceFunction::apply(hidden, head.weight(), head, before->hidden, before->head, temperature);
  return t;
}

}  // namespace cai
