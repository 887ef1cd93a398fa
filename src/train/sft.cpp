#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"
#include "cai/model/tensors.hpp"
#include "cai/train/answers.hpp"
#include "cai/train/decision_loss.hpp"
#include "cai/train/loss.hpp"
#include "cai/train/train.hpp"
#include "cai/train/trainable.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace {

void check_examples(const std::vector<TrainExample>& examples) {
  for (const TrainExample& e : examples)
    if (e.tokens.size() < 2 || e.prompt_tokens < 0 || e.prompt_tokens >= static_cast<int>(e.tokens.size()))
      throw Bug("example " + e.id + " has no token to learn");
}

std::int64_t answer_length(const TrainExample& e) {
  return static_cast<std::int64_t>(e.tokens.size()) - std::max(1, e.prompt_tokens);
}

// Token-mean loss without gradients.
double mean_loss(const Llama& model, const std::vector<TrainExample>& examples) {
  const std::vector<double> sums = example_log_probabilities(model, examples);
  double sum = 0, tokens = 0;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    const double n = static_cast<double>(answer_length(examples[i]));
    sum -= sums[i] * n, tokens += n;
  }
  return tokens > 0 ? sum / tokens : 0;
}

// What `model` says of each next token of the answers that are to stay as before, in `examples`' order; none
// for the others, and for all where it would be used once or takes more than a GB: each step asks for its own
// then.
std::vector<std::optional<NextTokens>> said_before(const Llama& model, const LmHead& head,
                                                   const std::vector<TrainExample>& examples,
                                                   std::int64_t first, const std::vector<at::Tensor>& states,
                                                   long epochs, bool head_learns) {
  const at::NoGradGuard no_gradients;
  std::vector<const TrainExample*> kept;
  std::vector<std::size_t> places;
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < examples.size(); ++i)
    if (examples[i].as_before)
      kept.push_back(&examples[i]), places.push_back(i), tokens += answer_length(examples[i]);
  std::vector<std::optional<NextTokens>> before(examples.size());
  if (epochs < 2 || tokens * model.config.width * 4 > (std::int64_t{1} << 30)) return before;
  for (const auto& [from, to] : micro_batches(lengths_of(kept), micro_batch_tokens(model.device()))) {
    std::vector<at::Tensor> below;
    for (std::size_t k = from; k < to && !states.empty(); ++k)
      below.push_back(states[places[k]]);
    const AnswerBatch batch = answer_batch(
        {kept.begin() + static_cast<std::ptrdiff_t>(from), kept.begin() + static_cast<std::ptrdiff_t>(to)},
        model.device());
    const at::Tensor hidden = answer_states(model, batch, first, below);
    const NextTokens all = next_tokens(hidden, head, batch.targets, 1, head_learns);
    std::int64_t row = 0;
    for (std::size_t k = from; k < to; ++k) {
      before[places[k]] = all.rows(row, answer_length(*kept[k]));
      row += answer_length(*kept[k]);
    }
  }
  return before;
}

// An example as a step takes it.
struct Item {
  const TrainExample* example = nullptr;
  at::Tensor below;  // its states below the learning layers; undefined where they are not kept
  const NextTokens* before = nullptr;  // what was said of its answer before training, where that is kept
};

// Sums over a step's examples, each already divided by what it is a mean of.
struct StepLoss {
  double tokens = 0, divergence = 0, decisions = 0;
};

// A model and its head.
struct Speaking {
  const Llama& model;
  const LmHead& head;
};

// What was said before of those of `items` that are to stay so, end to end.
NextTokens before_of(const Speaking& before, const std::vector<Item>& items, std::int64_t first,
                     bool head_learns) {
  std::vector<NextTokens> known;
  std::vector<at::Tensor> below;
  std::vector<const TrainExample*> examples;
  for (const Item& item : items) {
    if (!item.example->as_before) continue;
    examples.push_back(item.example);
    if (item.below.defined()) below.push_back(item.below);
    if (item.before) known.push_back(*item.before);
  }
  if (!known.empty()) return joined(known);
  const at::NoGradGuard no_gradients;
  const AnswerBatch batch = answer_batch(examples, before.model.device());
  return next_tokens(answer_states(before.model, batch, first, below), before.head, batch.targets, 1,
                     head_learns);
}

// One pass over `items`: adds their gradients to the model's and their losses to `loss`. `weight`: of all
// tokens of the step; `count`: its examples.
void add_gradients(const Speaking& now, const Speaking& before, const std::vector<Item>& items,
                   std::int64_t first, const SftConfig& config, double weight, double count, StepLoss& loss) {
  std::vector<const TrainExample*> examples;
  std::vector<at::Tensor> below;
  std::vector<std::int64_t> learned, kept;  // rows
  std::int64_t row = 0;
  for (const Item& item : items) {
    examples.push_back(item.example);
    if (item.below.defined()) below.push_back(item.below);
    for (std::int64_t i = 0; i < answer_length(*item.example); ++i)
      (item.example->as_before ? kept : learned).push_back(row++);
  }
  AnswerBatch b = answer_batch(examples, now.model.device());
  const std::vector<const Decision*> decisions =
      config.decision_weight > 0 ? add_decisions(b, examples) : std::vector<const Decision*>();
  const at::Tensor hidden = answer_states(now.model, b, first, below);
  at::Tensor total = at::zeros({}, hidden.options().requires_grad(false));
  if (!learned.empty()) {
    const at::Tensor rows = on(now.model.device(), learned);
    const at::Tensor logs =
        token_log_probabilities(hidden.index_select(0, rows), now.head, b.targets.index_select(0, rows))
            .log_probabilities;
    const at::Tensor part = -(logs * b.weights.index_select(0, rows)).sum() / weight;
    loss.tokens += part.item<double>(), total = total + part;
  }
  if (!kept.empty()) {
    const at::Tensor rows = on(now.model.device(), kept);
    const NextTokens then = before_of(before, items, first, now.head.weight().requires_grad());
    const at::Tensor part = (token_log_probabilities(hidden.index_select(0, rows), now.head,
                                                     b.targets.index_select(0, rows), 1, &then)
                                 .divergences *
                             b.weights.index_select(0, rows))
                                .sum() /
                            weight;
    loss.divergence += part.item<double>(), total = total + part;
  }
  if (!decisions.empty()) {
    const std::int64_t n = hidden.size(0) - row;
    const at::Tensor part =
        decision_losses(hidden.narrow(0, row, n), now.head, decisions, config.answering_weight).sum() / count;
    loss.decisions += part.item<double>(), total = total + config.decision_weight * part;
  }
  total.backward();
}

}  // namespace

std::vector<double> example_log_probabilities(const Llama& model, const std::vector<TrainExample>& examples) {
  check_examples(examples);
  const at::NoGradGuard no_gradients;
  std::vector<const TrainExample*> all;
  for (const TrainExample& e : examples)
    all.push_back(&e);
  const LmHead head(model.head, model.place.bfloat16, model.config.logit_cap);
  std::vector<double> means;
  for (const auto& [from, to] : micro_batches(lengths_of(all), micro_batch_tokens(model.device()))) {
    const std::vector<const TrainExample*> part(all.begin() + static_cast<std::ptrdiff_t>(from),
                                                all.begin() + static_cast<std::ptrdiff_t>(to));
    const at::Tensor logs =
        answer_log_probabilities(model, head, answer_batch(part, model.device()), 0).cpu().contiguous();
    const float* p = logs.data_ptr<float>();
    for (const TrainExample* e : part) {
      const std::int64_t n = answer_length(*e);
      double sum = 0;
      for (std::int64_t i = 0; i < n; ++i)
        sum += *p++;
      means.push_back(sum / static_cast<double>(n));
    }
  }
  return means;
}

Json train_sft(Llama& model, const std::vector<TrainExample>& train,
               const std::vector<TrainExample>& held_out, const SftConfig& config, std::uint64_t seed,
               const std::filesystem::path& folder, const StepObserver& observe) {
  check_examples(train);
  if (train.empty()) throw InputError("sft: no examples to train on");
  const OptimiserConfig& o = config.optimiser;
  const long batches = static_cast<long>((train.size() + static_cast<std::size_t>(config.batch_size) - 1) /
                                         static_cast<std::size_t>(config.batch_size));
  const long steps = batches * config.epochs;
  const std::int64_t first = first_trainable_layer(model.config, o);
  std::vector<std::vector<int>> read;
  for (const TrainExample& e : train)
    read.emplace_back(e.tokens.begin(), e.tokens.end() - 1);
  const std::vector<at::Tensor> states = frozen_states(model, read, first, config.epochs);
  // Of the model before training no more is kept than is asked later: its head, and where each step asks
  // again, its old tensors (make_trainable gives the model its own).
  std::optional<LmHead> first_head;
  std::optional<Llama> first_model;
  std::vector<std::optional<NextTokens>> before(train.size());
  if (std::any_of(train.begin(), train.end(), [](const TrainExample& e) { return e.as_before; })) {
    first_head.emplace(model.head, model.place.bfloat16, model.config.logit_cap);
    const bool head_learns = o.lora.rank == 0 && o.trainable_layers <= 0;
    before = said_before(model, *first_head, train, first, states, config.epochs, head_learns);
    if (std::none_of(before.begin(), before.end(), [](const auto& b) { return b.has_value(); }))
      first_model = model;
  }

  std::optional<Llama> start;  // its tensors stay as they are: make_trainable gives the model its own
  if (config.before_share > 0) start = model;
  AdamW optimiser(make_trainable(model, o, seed), 1e-8, o.weight_decay);
  TrainingState state(folder, o.checkpoint_seconds);
  const Json position = state.restore({{"sft", &optimiser}});
  long step = position.is_null() ? 0 : position.at("step").get<long>();
  double held_out_before =
      position.is_null() ? mean_loss(model, held_out) : position.at("held_out_before").get<double>();
  double tokens_seen = position.is_null() ? 0 : position.at("tokens").get<double>();
  LmHead head(model.head, model.place.bfloat16, model.config.logit_cap);

  for (; step < steps; ++step) {
    state.maybe_save({{"step", step}, {"held_out_before", held_out_before}, {"tokens", tokens_seen}},
                     {{"sft", &optimiser}});
    const std::vector<std::size_t> order = Random(seed)
                                               .derive("epoch")
                                               .derive(static_cast<std::uint64_t>(step / batches))
                                               .permutation(train.size());
    std::vector<Item> items;
    std::vector<std::int64_t> lengths;
    double weight = 0, kept_weight = 0, tokens = 0;
    for (std::size_t i = static_cast<std::size_t>(step % batches * config.batch_size);
         i < std::min(train.size(), static_cast<std::size_t>((step % batches + 1) * config.batch_size));
         ++i) {
      const TrainExample& e = train[order[i]];
      items.push_back({&e, states.empty() ? at::Tensor() : states[order[i]],
                       before[order[i]] ? &*before[order[i]] : nullptr});
      lengths.push_back(static_cast<std::int64_t>(e.tokens.size()) - 1);
      const double n = static_cast<double>(answer_length(e));
      tokens += n, weight += e.weight * n, kept_weight += e.as_before ? e.weight * n : 0;
    }
    StepLoss loss;
    for (const auto& [from, to] : micro_batches(lengths, micro_batch_tokens(model.device())))
      add_gradients({model, head}, {first_model ? *first_model : model, first_head ? *first_head : head},
                    {items.begin() + static_cast<std::ptrdiff_t>(from),
                     items.begin() + static_cast<std::ptrdiff_t>(to)},
                    first, config, weight, static_cast<double>(items.size()), loss);
    const double rate = scheduled_rate(o, o.learning_rate, step, steps);
    const double norm = optimiser.step(rate, o.max_gradient_norm);
    if (model.head.requires_grad()) head.refresh();
    if (!std::isfinite(loss.tokens) || !std::isfinite(loss.divergence) || !std::isfinite(loss.decisions) ||
        !std::isfinite(norm))
      throw TrainingError("sft: loss or gradient is not finite at step " + std::to_string(step + 1) +
                          "; try a lower sft.learning_rate");
    tokens_seen += tokens;
    // For people each is a mean of its own kind of token; in the gradient both are parts of the mean over
    // all.
    const double learned_weight = weight - kept_weight;
    const Json figures = {{"step", step + 1},
                          {"loss", learned_weight > 0 ? loss.tokens * weight / learned_weight : 0},
                          {"divergence", kept_weight > 0 ? loss.divergence * weight / kept_weight : 0},
                          {"decision_loss", loss.decisions},
                          {"gradient_norm", norm},
                          {"learning_rate", rate},
                          {"tokens", tokens}};
    state.log(figures);
    if (observe) observe(step + 1, steps, figures);
  }
  if (start) move_towards(model, *start, config.before_share);
  Json figures = {{"steps", steps}, {"examples", train.size()}, {"tokens", tokens_seen}};
  const std::vector<Json> lines = state.history();
  const auto last = [&](const char* name) {
    const std::size_t window = std::min<std::size_t>(lines.size(), 5);
    double mean = 0;
    for (std::size_t i = lines.size() - window; i < lines.size(); ++i)
      mean += lines[i].at(name).get<double>() / static_cast<double>(window);
    return mean;
  };
  if (!lines.empty())
    figures["first_loss"] = lines.front().at("loss"), figures["train_loss"] = last("loss"),
    figures["divergence"] = last("divergence");
  figures["held_out_examples"] = held_out.size();
  if (!held_out.empty())
    figures["held_out_loss_before"] = held_out_before, figures["held_out_loss"] = mean_loss(model, held_out);
  state.finish();
  return figures;
}

}  // namespace cai
