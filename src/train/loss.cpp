#include "cai/train/loss.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "cai/engine/kernels.hpp"
#include "cai/model/half_products.hpp"
#include "cai/model/tensors.hpp"

namespace cai {
namespace {

// Rows of logits at a time: a device is kept at work by more.
std::int64_t logit_rows(const at::Tensor& hidden) {
  return hidden.is_cpu() ? kLogitRows : 8 * kLogitRows;
}

// W^T p of each row's next token in two parts: its target's share is left out of the product, whose result is
// rounded to what it is. Where the target is nearly certain, what is left between W(target) and the whole
// would be rounding otherwise.
struct Expectation {
  at::Tensor target;  // [n, width] its weights
  at::Tensor chosen;  // [n] its log-probability
  at::Tensor others;  // [n, width] the others' weights by their probabilities

  at::Tensor whole() const { return at::addcmul(others, target, chosen.exp().unsqueeze(1)); }
  at::Tensor less_target() const { return at::addcmul(others, target, chosen.expm1().unsqueeze(1)); }
};

// `logits` are used up.
Expectation expectation_of(const LmHead& head, at::Tensor& logits, const at::Tensor& totals,
                           const at::Tensor& targets) {
  const at::Tensor chosen = chosen_of(logits, targets, totals);
  exponentiate(logits, totals).scatter_(1, targets.unsqueeze(1), 0);
  return {head.rows(targets), chosen, head.to_hidden(logits)};
}

// log-softmax of `logits` [n, vocabulary] in place; their logsumexp [n].
at::Tensor normalise(at::Tensor& logits) {
  const at::Tensor total = log_sums(logits);
  logits.sub_(total.unsqueeze(1));
  return total;
}

// A frozen head: what each row adds to the gradient of `hidden` is made in the forward pass, while the logits
// are there. With `before` the divergences from it come out of the same logits.
struct FrozenHeadFunction : torch::autograd::Function<FrozenHeadFunction> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                const at::Tensor& hidden, const LmHead& head,
                                                const at::Tensor& targets, double temperature,
                                                const NextTokens* before) {
    const auto n = hidden.size(0);
    at::Tensor chosen = at::empty({n}, hidden.options()),
               slopes = at::empty_like(hidden);  // slopes: d log p(target) / d hidden
    at::Tensor divergences = at::empty({before ? n : 0}, hidden.options()),
               divergence_slopes = at::empty({before ? n : 0, hidden.size(1)}, hidden.options());
    for (std::int64_t from = 0; from < n; from += logit_rows(hidden)) {
      const auto rows = std::min(logit_rows(hidden), n - from);
      const at::Tensor h = hidden.narrow(0, from, rows), target = targets.narrow(0, from, rows);
      at::Tensor logits = head.logits(h);  // [rows, vocabulary]
      if (temperature != 1) logits.div_(temperature);
      const at::Tensor total = log_sums(logits);
      const Expectation e = expectation_of(head, logits, total, target);
      chosen.narrow(0, from, rows).copy_(e.chosen);
      slopes.narrow(0, from, rows).copy_(e.less_target().div_(-temperature));
      if (!before) continue;
      const at::Tensor then = before->expected.narrow(0, from, rows);
      divergences.narrow(0, from, rows)
          .copy_(total - (h * then).sum(-1).div_(temperature) - before->offsets.narrow(0, from, rows));
      divergence_slopes.narrow(0, from, rows).copy_((e.whole() - then).div_(temperature));
    }
    context->save_for_backward({slopes, divergence_slopes});
    return {chosen, divergences};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
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

// [n, width] bfloat16 on the device of `like`.
at::Tensor room_for(const at::Tensor& like, std::int64_t n, std::int64_t width) {
  return has_own_code(like) ? half_rows(n, width)
                            : at::empty({n, width}, like.options().dtype(at::kBFloat16));
}

// On a device: softmax - onehot of rows of logits, which are used up, go into the blocks of `errors`.
void put_errors(at::Tensor& logits, const at::Tensor& totals, const at::Tensor& targets,
                const at::Tensor& through, std::int64_t from, const std::vector<at::Tensor>& errors) {
  const at::Tensor places = targets.unsqueeze(1);
  exponentiate(logits, totals);
  logits.scatter_(1, places, logits.gather(1, places) - 1);
  if (through.defined()) logits.mul_(through);
  for (std::size_t b = 0; b < errors.size(); ++b)
    errors[b]
        .narrow(0, from, logits.size(0))
        .copy_(logits.narrow(1, static_cast<std::int64_t>(b) * kLogitTokens, errors[b].size(1)));
}

// A learning head, or one that caps. In bfloat16 what each logit's slope is made of waits for the backward
// pass, rounded as its products take it; in float32 that would be too much, and logits are made again.
// `weight` is the head's: autograd sees through it that the head learns.
struct LearningHeadFunction : torch::autograd::Function<LearningHeadFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden,
                            const at::Tensor& weight, const LmHead& head, const at::Tensor& targets,
                            double temperature) {
    const auto n = hidden.size(0), vocabulary = weight.size(0);
    at::Tensor chosen = at::empty({n}, hidden.options()), totals = at::empty({n}, hidden.options());
    std::vector<at::Tensor> errors;  // softmax - onehot, by blocks of the vocabulary: one tensor would need a
                                     // large hole in memory
    for (std::int64_t first = 0; head.is_bfloat16() && first < vocabulary; first += kLogitTokens)
      errors.push_back(room_for(hidden, n, std::min(kLogitTokens, vocabulary - first)));
    for (std::int64_t from = 0; from < n; from += logit_rows(hidden)) {
      const auto rows = std::min(logit_rows(hidden), n - from);
      at::Tensor logits = head.logits(hidden.narrow(0, from, rows));
      const at::Tensor through = head.cap() > 0 ? head.slopes_of_cap(logits) : at::Tensor();
      if (temperature != 1) logits.div_(temperature);
      const at::Tensor total = log_sums(logits), target = targets.narrow(0, from, rows);
      totals.narrow(0, from, rows).copy_(total);
      chosen.narrow(0, from, rows).copy_(chosen_of(logits, target, total));
      if (errors.empty()) continue;
      if (!has_own_code(logits)) {
        put_errors(logits, total, target, through, from, errors);
        continue;
      }
      by_row(rows, [&](std::int64_t r) {
        float* const row = floats(logits) + r * vocabulary;
        exp_shifted(row, vocabulary, floats(total)[r], 1, row);
        row[target.data_ptr<std::int64_t>()[r]] -= 1;
        for (std::int64_t i = 0; i < vocabulary && through.defined(); ++i) {
          row[i] *= floats(through)[r * vocabulary + i];
        }
        for (std::size_t b = 0; b < errors.size(); ++b)
          to_halves(row + static_cast<std::int64_t>(b) * kLogitTokens, errors[b].size(1),
                    halves(errors[b]) + (from + r) * errors[b].size(1));
      });
    }
    errors.insert(errors.end(), {hidden, targets, totals});
    context->save_for_backward(errors);
    context->saved_data["head"] = kept(head), context->saved_data["temperature"] = temperature;
    return chosen;
  }

  // d log p(target) / d logits = onehot - softmax.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor none, &hidden = saved[saved.size() - 3], &targets = saved[saved.size() - 2],
                           &totals = saved.back();
    const LmHead head = head_in(context->saved_data["head"]);
    const double temperature = context->saved_data["temperature"].toDouble();
    const at::Tensor slope = gradients[0].unsqueeze(1) / temperature, against = -slope;  // [n, 1]
    at::Tensor d_hidden = at::zeros_like(hidden);
    const auto vocabulary = head.weight().size(0);
    if (head.is_bfloat16()) {  // what a row's slopes have in common stays out of the products' larger sides
      const at::Tensor scaled = rounded_rows(hidden * against);
      for (std::int64_t first = 0; first < vocabulary; first += kLogitTokens) {
        const at::Tensor& errors = saved[static_cast<std::size_t>(first / kLogitTokens)];
        d_hidden.add_(head.to_hidden(errors, first).narrow(0, 0, hidden.size(0)));
        head.learn(errors, scaled, first);
      }
      return {d_hidden.mul_(against), none, none, none, none};
    }
    for (std::int64_t first = 0; first < vocabulary; first += kLogitTokens) {
      const auto count = std::min(kLogitTokens, vocabulary - first);
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

// KL(before || now), or KL(now || before), from both models' logits: of a head that learns, and where nothing
// of `before` but its states is known.
struct DivergenceFunction : torch::autograd::Function<DivergenceFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden,
                            const at::Tensor& weight, const LmHead& head, const NextTokens* before,
                            double temperature) {
    const auto n = hidden.size(0);
    at::Tensor divergences = at::empty({n}, hidden.options()), totals = at::empty({n}, hidden.options()),
               before_totals = at::empty({n}, hidden.options());
    for (std::int64_t from = 0; from < n; from += logit_rows(hidden)) {
      const auto rows = std::min(logit_rows(hidden), n - from);
      at::Tensor now = head.logits(hidden.narrow(0, from, rows)).div_(temperature),
                 then = before->head.logits(before->hidden.narrow(0, from, rows)).div_(temperature);
      totals.narrow(0, from, rows).copy_(normalise(now));
      before_totals.narrow(0, from, rows).copy_(normalise(then));
      divergences.narrow(0, from, rows)
          .copy_(before->reverse ? (now.exp() * (now - then)).sum(-1) : (then.exp() * (then - now)).sum(-1));
    }
    context->save_for_backward({hidden, totals, before->hidden, before_totals, divergences});
    context->saved_data["head"] = kept(head), context->saved_data["before_head"] = kept(before->head);
    context->saved_data["temperature"] = temperature, context->saved_data["reverse"] = before->reverse;
    return divergences;
  }

  // With p now and q before, d KL(q || p) / d logits = p - q, and d KL(p || q) / d logits = p (log p - log q
  // - KL(p || q)).
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const double temperature = context->saved_data["temperature"].toDouble();
    const bool reverse = context->saved_data["reverse"].toBool();
    const at::Tensor none, slope = gradients[0].unsqueeze(1) / temperature, &hidden = saved[0],
                           &before_hidden = saved[2];
    const LmHead head = head_in(context->saved_data["head"]),
                 before_head = head_in(context->saved_data["before_head"]);
    at::Tensor d_hidden = at::zeros_like(hidden);
    const auto vocabulary = head.weight().size(0);
    for (std::int64_t first = 0; first < vocabulary; first += kLogitTokens) {
      const auto count = std::min(kLogitTokens, vocabulary - first);
      at::Tensor now = head.logits(hidden, first, count);
      const at::Tensor through = head.cap() > 0 ? head.slopes_of_cap(now) : at::Tensor();
      now.div_(temperature);
      at::Tensor then = before_head.logits(before_hidden, first, count).div_(temperature), d_logits;
      if (reverse) {
        const at::Tensor apart = now - then - (saved[1] - saved[3] + saved[4]).unsqueeze(1);
        d_logits = exponentiate(now, saved[1]).mul_(apart);
      } else {
        d_logits = exponentiate(now, saved[1]).sub_(exponentiate(then, saved[3]));
      }
      d_logits.mul_(slope);
      if (through.defined()) d_logits.mul_(through);
      d_hidden.add_(head.to_hidden(d_logits, first));
      head.learn(d_logits, hidden, first);
    }
    return {d_hidden, none, none, none, none};
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
    for (std::int64_t k = 0; k < n; ++k)
      sum += part[k] * (total - x[i + k]);
    entropy += sum;
  }
  return static_cast<float>(entropy);
}

// Without gradients: entropies too.
TokenLogProbabilities measured(const at::Tensor& hidden, const LmHead& head, const at::Tensor& targets,
                               double temperature) {
  const auto n = hidden.size(0);
  TokenLogProbabilities t{at::empty({n}, hidden.options()), at::empty({n}, hidden.options()), {}};
  for (std::int64_t from = 0; from < n; from += logit_rows(hidden)) {
    const auto rows = std::min(logit_rows(hidden), n - from);
    at::Tensor logits = head.logits(hidden.narrow(0, from, rows));
    if (temperature != 1) logits.div_(temperature);
    const at::Tensor total = log_sums(logits);
    t.log_probabilities.narrow(0, from, rows).copy_(chosen_of(logits, targets.narrow(0, from, rows), total));
    if (!has_own_code(logits)) {
      const at::Tensor apart = total.unsqueeze(1) - logits;
      t.entropies.narrow(0, from, rows).copy_((at::exp(-apart) * apart).sum(1));
      continue;
    }
    const auto width = logits.size(1);
    const float *const x = logits.data_ptr<float>(), *const totals = total.data_ptr<float>();
    float* const entropies = t.entropies.data_ptr<float>() + from;
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < rows; ++r)
      entropies[r] = entropy_of(x + r * width, width, totals[r]);
  }
  return t;
}

}  // namespace

NextTokens next_tokens(const at::Tensor& hidden, const LmHead& head, const at::Tensor& targets,
                       double temperature, bool head_learns, bool reverse) {
  if (head_learns || reverse || head.cap() > 0) return {head, hidden, {}, {}, reverse};
  const at::NoGradGuard no_gradients;
  NextTokens t{head, {}, at::empty_like(hidden), at::empty({hidden.size(0)}, hidden.options())};
  for (std::int64_t from = 0; from < hidden.size(0); from += logit_rows(hidden)) {
    const auto rows = std::min(logit_rows(hidden), hidden.size(0) - from);
    const at::Tensor h = hidden.narrow(0, from, rows);
    at::Tensor logits = head.logits(h);
    if (temperature != 1) logits.div_(temperature);
    const at::Tensor total = log_sums(logits),
                     expected = expectation_of(head, logits, total, targets.narrow(0, from, rows)).whole();
    t.expected.narrow(0, from, rows).copy_(expected);
    t.offsets.narrow(0, from, rows).copy_(total - (h * expected).sum(-1).div_(temperature));
  }
  return t;
}

NextTokens NextTokens::rows(std::int64_t first, std::int64_t count) const {
  const auto part = [&](const at::Tensor& t) { return t.defined() ? t.narrow(0, first, count).clone() : t; };
  return {head, part(hidden), part(expected), part(offsets), reverse};
}

NextTokens joined(const std::vector<NextTokens>& parts) {
  const auto all = [&](at::Tensor NextTokens::*member) {
    std::vector<at::Tensor> tensors;
    for (const NextTokens& p : parts)
      tensors.push_back(p.*member);
    return tensors.front().defined() ? at::cat(tensors) : at::Tensor();
  };
  return {parts.front().head, all(&NextTokens::hidden), all(&NextTokens::expected), all(&NextTokens::offsets),
          parts.front().reverse};
}

TokenLogProbabilities token_log_probabilities(const at::Tensor& hidden, const LmHead& head,
                                              const at::Tensor& targets, double temperature,
                                              const NextTokens* before) {
  const bool head_learns = head.weight().requires_grad();
  if (!at::GradMode::is_enabled() || (!hidden.requires_grad() && !head_learns))
    return measured(hidden, head, targets, temperature);
  const bool from_logits = head_learns || head.cap() > 0;
  const bool by_expectation = before && !from_logits && !before->reverse;
  TokenLogProbabilities t;
  if (from_logits) {
    t.log_probabilities = LearningHeadFunction::apply(hidden, head.weight(), head, targets, temperature);
  } else {
    const auto results =
        FrozenHeadFunction::apply(hidden, head, targets, temperature, by_expectation ? before : nullptr);
    t.log_probabilities = results[0];
    if (by_expectation) t.divergences = results[1];
  }
  if (before && !by_expectation)
    t.divergences = DivergenceFunction::apply(hidden, head.weight(), head, before, temperature);
  return t;
}

}  // namespace cai
