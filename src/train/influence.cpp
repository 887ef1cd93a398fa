#include "cai/train/influence.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "cai/base/error.hpp"
#include "cai/train/answers.hpp"
#include "cai/train/decision_loss.hpp"
#include "cai/train/trainable.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace {

constexpr double kStep =
    0.25;  // nats that f changes by, to each side: well above float32's rounding, well below where f bends

double log_probability_with_gradient(const Llama& model, const TrainExample& answer, std::int64_t first,
                                     double sign) {
  const at::Tensor sum = answer_log_probabilities(model, LmHead(model.head, false, model.config.logit_cap),
                                                  answer_batch({&answer}, model.device()), first)
                             .sum();
  (sign * sum).backward();
  return sum.item<double>();
}

// SFT's loss of each example, at the weights of `model`.
std::vector<double> losses(const Llama& model, const std::vector<TrainExample>& examples,
                           const std::vector<at::Tensor>& states, std::int64_t first, double mean_weight,
                           const SftConfig& config) {
  const at::NoGradGuard no_gradients;
  const LmHead head(model.head, false, model.config.logit_cap);
  std::vector<const TrainExample*> all;
  for (const TrainExample& e : examples)
    all.push_back(&e);
  std::vector<double> result;
  for (const auto& [from, to] : micro_batches(lengths_of(all), micro_batch_tokens(model.device()))) {
    const std::vector<const TrainExample*> part(all.begin() + static_cast<std::ptrdiff_t>(from),
                                                all.begin() + static_cast<std::ptrdiff_t>(to));
    std::vector<at::Tensor> below;
    for (std::size_t i = from; i < to && !states.empty(); ++i)
      below.push_back(states[i]);
    AnswerBatch b = answer_batch(part, model.device());
    const std::int64_t tokens = b.rows.size(0);
    const std::vector<const Decision*> decisions =
        config.decision_weight > 0 ? add_decisions(b, part) : std::vector<const Decision*>();
    const at::Tensor hidden = answer_states(model, b, first, below);
    const at::Tensor logs =
        token_log_probabilities(hidden.narrow(0, 0, tokens), head, b.targets).log_probabilities;
    const at::Tensor words = (-logs * b.weights).cpu().contiguous();
    const at::Tensor before = hidden.narrow(0, tokens, hidden.size(0) - tokens);  // each decision
    const at::Tensor deciding =
        decisions.empty()
            ? at::Tensor()
            : decision_losses(before, head, decisions, config.answering_weight).cpu().contiguous();
    const float* word = words.data_ptr<float>();
    const float* decision = decisions.empty() ? nullptr : deciding.data_ptr<float>();
    for (const TrainExample* e : part) {
      double of_words = 0, of_decisions = 0;
      for (std::size_t i = static_cast<std::size_t>(std::max(1, e->prompt_tokens)); i < e->tokens.size(); ++i)
        of_words += *word++;
      for (std::size_t i = 0; i < e->decisions.size() && decision; ++i)
        of_decisions += *decision++;
      result.push_back((e->as_before ? 0 : of_words / mean_weight) + config.decision_weight * of_decisions);
    }
  }
  return result;
}

}  // namespace

std::vector<double> influences(const Llama& given, const std::vector<TrainExample>& examples,
                               const TrainExample& towards, const TrainExample& away,
                               const SftConfig& config) {
  Llama model = given;
  model.place.bfloat16 = false;  // a small step would be lost in rounding
  const OptimiserConfig& o = config.optimiser;
  // Of layers that learned by an adapter, which is merged by now, the weights.
  const NamedTensors weights = make_trainable(model, o.lora.rank > 0 ? o.lora.layers : o.trainable_layers);
  const std::int64_t first = first_trainable_layer(model.config, o);
  log_probability_with_gradient(model, towards, first, 1);
  log_probability_with_gradient(model, away, first, -1);
  double square = 0;
  for (const auto& [name, w] : weights)
    if (w.grad().defined()) square += w.grad().square().sum().item<double>();
  if (!(square > 0) || !std::isfinite(square))
    throw TrainingError("influence: the gradient between the two answers is zero or not finite");

  double weight = 0;
  std::vector<TrainExample> asked;  // those with a loss here, no further than it reaches
  std::vector<std::size_t> places;
  std::vector<std::vector<int>> read;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    TrainExample e = examples[i];
    weight += e.weight *
              static_cast<double>(e.tokens.size() - static_cast<std::size_t>(std::max(1, e.prompt_tokens)));
    if (e.as_before && (e.decisions.empty() || config.decision_weight <= 0)) continue;
    if (e.as_before) e.tokens.resize(static_cast<std::size_t>(e.prompt_tokens + e.decisions.back().at + 1));
    read.emplace_back(e.tokens.begin(), e.tokens.end() - 1);
    asked.push_back(std::move(e)), places.push_back(i);
  }
  const std::vector<at::Tensor> states = frozen_states(given, read, first, 2);
  const double step = kStep / square;  // along grad f itself: f changes by step times its square
  std::vector<std::vector<double>> sides;
  const at::NoGradGuard no_gradients;
  for (const double way : {step, -2 * step}) {
    for (const auto& [name, w] : weights)
      if (w.grad().defined()) at::Tensor(w).add_(w.grad(), way);
    sides.push_back(
        losses(model, asked, states, first, weight / static_cast<double>(examples.size()), config));
  }
  std::vector<double> result(examples.size(), 0);
  for (std::size_t k = 0; k < places.size(); ++k)
    result[places[k]] = (sides[1][k] - sides[0][k]) / (2 * step);
  return result;
}

}  // namespace cai
