#include "cai/train/decision_loss.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "cai/engine/kernels.hpp"
#include "cai/model/half_products.hpp"
#include "cai/model/tensors.hpp"

namespace cai {
namespace {

using Sets = std::vector<std::vector<int>>;

struct KeptSets : torch::CustomClassHolder {
  explicit KeptSets(const Sets& s) : sets(s) {}
  Sets sets;
};

// Log-odds of a row of logits, which become the slopes: probabilities among the set less probabilities among
// the others.
float to_slopes(float* row, std::int64_t width, const std::vector<int>& set) {
  std::vector<float> inside;
  for (int token : set) {
    inside.push_back(row[token]);
    row[token] = std::numeric_limits<float>::lowest();
  }
  const double of_set = log_sum_exp(inside.data(), static_cast<std::int64_t>(inside.size()));
  const double of_others = log_sum_exp(row, width);
  exp_shifted(row, width, static_cast<float>(of_others), 1, row);
  for (std::int64_t i = 0; i < width; ++i)
    row[i] = -row[i];
  for (std::size_t k = 0; k < set.size(); ++k)
    row[set[k]] = static_cast<float>(std::exp(inside[k] - of_set));
  return static_cast<float>(of_set - of_others);
}

// The same of some rows on a device: their log-odds become `odds` [rows].
void to_slopes_on_device(at::Tensor& logits, std::span<const std::vector<int>> sets, at::Tensor odds) {
  std::vector<std::int64_t> places;
  for (std::int64_t r = 0; r < logits.size(0); ++r)
    for (int token : sets[static_cast<std::size_t>(r)])
      places.push_back(r * logits.size(1) + token);
  const at::Tensor in_set = at::zeros({logits.numel()}, logits.options().dtype(at::kBool))
                                .index_fill_(0, on(logits.device(), places), 1)
                                .view_as(logits);
  constexpr float kNone = std::numeric_limits<float>::lowest();
  const at::Tensor inside = logits.masked_fill(in_set.logical_not(), kNone),
                   outside = logits.masked_fill(in_set, kNone), of_set = at::logsumexp(inside, 1),
                   of_others = at::logsumexp(outside, 1);
  odds.copy_(of_set - of_others);
  logits.copy_(at::exp(inside - of_set.unsqueeze(1)).sub_(at::exp(outside - of_others.unsqueeze(1))));
}

// The same of some rows: their log-odds go to `all`, from the row `from` on.
void to_slopes(at::Tensor& logits, std::span<const std::vector<int>> sets, const at::Tensor& all,
               std::int64_t from) {
  if (!has_own_code(logits)) return to_slopes_on_device(logits, sets, all.narrow(0, from, logits.size(0)));
  float* const odds = floats(all) + from;
  const std::int64_t width = logits.size(1);
  by_row(logits.size(0), [&](std::int64_t r) {
    odds[r] = to_slopes(floats(logits) + r * width, width, sets[static_cast<std::size_t>(r)]);
  });
}

// Calls body(first row, logits) for parts of the rows.
template <class Body>
void by_logits(const at::Tensor& hidden, const LmHead& head, const Body& body) {
  for (std::int64_t from = 0; from < hidden.size(0); from += kLogitRows) {
    const std::int64_t rows = std::min(kLogitRows, hidden.size(0) - from);
    at::Tensor logits = head.logits(hidden.narrow(0, from, rows));
    body(from, logits);
  }
}

// `weight` is the head's: autograd sees through it that the head learns.
struct LogOddsFunction : torch::autograd::Function<LogOddsFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& hidden,
                            const at::Tensor& weight, const LmHead& head, const Sets& sets) {
    at::Tensor odds = at::empty({hidden.size(0)}, hidden.options()), slopes = at::empty_like(hidden);
    by_logits(hidden, head, [&](std::int64_t from, at::Tensor& logits) {
      const at::Tensor through = head.cap() > 0 ? head.slopes_of_cap(logits) : at::Tensor();
      to_slopes(logits, std::span(sets).subspan(static_cast<std::size_t>(from)), odds, from);
      if (through.defined()) logits.mul_(through);
      slopes.narrow(0, from, logits.size(0)).copy_(head.to_hidden(logits));
    });
    context->save_for_backward({hidden, slopes});
    context->saved_data["head"] = kept(head);
    context->saved_data["sets"] = c10::IValue::make_capsule(c10::make_intrusive<KeptSets>(sets));
    return odds;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor none, hidden = saved[0], slope = gradients[0].unsqueeze(1);
    const LmHead head = head_in(context->saved_data["head"]);
    if (head.weight().requires_grad()) {
      const auto kept_sets =
          c10::static_intrusive_pointer_cast<KeptSets>(context->saved_data["sets"].toCapsule());
      at::Tensor odds = at::empty({hidden.size(0)}, hidden.options());
      by_logits(hidden, head, [&](std::int64_t from, at::Tensor& logits) {
        const at::Tensor through = head.cap() > 0 ? head.slopes_of_cap(logits) : at::Tensor();
        to_slopes(logits, std::span(kept_sets->sets).subspan(static_cast<std::size_t>(from)), odds, from);
        const std::int64_t rows = logits.size(0);
        if (through.defined()) logits.mul_(through);
        head.learn(logits.mul_(slope.narrow(0, from, rows)), hidden.narrow(0, from, rows).contiguous(), 0);
      });
    }
    return {saved[1] * slope, none, none, none};
  }
};

}  // namespace

std::vector<const Decision*> add_decisions(AnswerBatch& b, const std::vector<const TrainExample*>& examples) {
  std::vector<const Decision*> decisions;
  std::vector<std::int64_t> rows;
  for (std::size_t k = 0; k < examples.size(); ++k) {
    const std::vector<std::int64_t> own = rows_of(b.packed, k);
    for (const Decision& d : examples[k]->decisions) {
      decisions.push_back(&d);
      rows.push_back(own[static_cast<std::size_t>(std::max(1, examples[k]->prompt_tokens) - 1 + d.at)]);
    }
  }
  b.rows = at::cat({b.rows, on(b.rows.device(), rows)});
  return decisions;
}

at::Tensor log_odds(const at::Tensor& hidden, const LmHead& head, const Sets& sets) {
  if (at::GradMode::is_enabled()) return LogOddsFunction::apply(hidden, head.weight(), head, sets);
  at::Tensor odds = at::empty({hidden.size(0)}, hidden.options());
  by_logits(hidden, head, [&](std::int64_t from, at::Tensor& logits) {
    to_slopes(logits, std::span(sets).subspan(static_cast<std::size_t>(from)), odds, from);
  });
  return odds;
}

at::Tensor decision_losses(const at::Tensor& hidden, const LmHead& head,
                           const std::vector<const Decision*>& decisions, double answering_weight) {
  Sets openings;
  std::vector<float> signs, weights;
  for (const Decision* d : decisions) {
    openings.push_back(d->openings);
    signs.push_back(d->declines ? -1.0F : 1.0F);
    weights.push_back(!d->declines && d->at == 0 ? static_cast<float>(answering_weight) : 1.0F);
  }
  const at::Tensor wrong =
      log_odds(hidden, head, openings) * on(hidden.device(), signs);  // of what the example does not do
  // softplus gives way to the identity above its threshold: by then they agree in float32
  return at::softplus(wrong, 1, 30) * on(hidden.device(), weights);
}

}  // namespace cai
