#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"
#include "cai/train/answers.hpp"
#include "cai/train/loss.hpp"
#include "cai/train/train.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace {

void check_examples(const std::vector<TrainExample>& examples) {
  for (const TrainExample& e : examples)
    if (e.tokens.size() < 2 || e.prompt_tokens < 0 || e.prompt_tokens >= static_cast<int>(e.tokens.size()))
      throw Bug("example " + e.id + " has no token to learn");
}

// Token-mean loss without gradients.
double mean_loss(const Llama& model, const std::vector<TrainExample>& examples) {
  const std::vector<double> sums = example_log_probabilities(model, examples);
  double sum = 0, tokens = 0;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    const double n = static_cast<double>(examples[i].tokens.size()) - std::max(1, examples[i].prompt_tokens);
    sum -= sums[i] * n, tokens += n;
  }
  return tokens > 0 ? sum / tokens : 0;
}

// Adds the row before each decision to the batch, once for each of its openings. Returns the decisions, in order.
std::vector<const Decision*> add_decisions(AnswerBatch& b, const std::vector<const TrainExample*>& examples) {
  std::vector<const Decision*> decisions;
  std::vector<std::int64_t> rows, targets;
  std::int64_t offset = 0;
  for (const TrainExample* e : examples) {
    for (const Decision& d : e->decisions) {
      decisions.push_back(&d);
      for (int token : d.openings) rows.push_back(offset + std::max(1, e->prompt_tokens) - 1 + d.at), targets.push_back(token);
    }
    offset += static_cast<std::int64_t>(e->tokens.size()) - 1;
  }
  b.rows = at::cat({b.rows, at::tensor(rows, at::kLong)}), b.targets = at::cat({b.targets, at::tensor(targets, at::kLong)});
  return decisions;
}

// logs: the log-probabilities of the openings of `decisions`, one after the other. Rounding may put a decision's mass at one, where log(1 - mass) has
// no gradient to leave it by: it is held below.
at::Tensor decision_loss(const at::Tensor& logs, const std::vector<const Decision*>& decisions, double answering_weight) {
  std::vector<std::int64_t> sizes;
  std::vector<float> answering;
  for (const Decision* d : decisions) {
    sizes.push_back(static_cast<std::int64_t>(d->openings.size()));
    answering.push_back(d->declines ? 0.0F : d->at == 0 ? static_cast<float>(answering_weight) : 1.0F);
  }
  std::vector<at::Tensor> masses;
  for (const at::Tensor& openings : logs.split_with_sizes(sizes)) masses.push_back(openings.logsumexp(0));
  const at::Tensor w = at::tensor(answering, at::kFloat), declines = at::stack(masses).clamp_max(-1e-6);
  return at::where(w.gt(0), -at::log1p(-declines.exp()) * w, -declines).sum();
}

}  // namespace

std::vector<double> example_log_probabilities(const Llama& model, const std::vector<TrainExample>& examples) {
  check_examples(examples);
  const at::NoGradGuard no_gradients;
  std::vector<const TrainExample*> all;
  for (const TrainExample& e : examples) all.push_back(&e);
  const LmHead head(model.head, model.bfloat16);
  std::vector<double> means;
  for (const auto& [from, to] : micro_batches(lengths_of(all), kMicroBatchTokens)) {
    const std::vector<const TrainExample*> part(all.begin() + static_cast<std::ptrdiff_t>(from), all.begin() + static_cast<std::ptrdiff_t>(to));
    const at::Tensor logs = answer_log_probabilities(model, head, answer_batch(part), 0).contiguous();
    const float* p = logs.data_ptr<float>();
    for (const TrainExample* e : part) {
      const int n = static_cast<int>(e->tokens.size()) - std::max(1, e->prompt_tokens);
      double sum = 0;
      for (int i = 0; i < n; ++i) sum += *p++;
      means.push_back(sum / n);
    }
  }
  return means;
}

Json train_sft(Llama& model, const std::vector<TrainExample>& train, const std::vector<TrainExample>& held_out, const SftConfig& config,
               std::uint64_t seed, const std::filesystem::path& folder, const StepObserver& observe) {
  check_examples(train);
  if (train.empty()) throw InputError("sft: no examples to train on");
  const OptimiserConfig& o = config.optimiser;
  const long batches = static_cast<long>((train.size() + static_cast<std::size_t>(config.batch_size) - 1) / static_cast<std::size_t>(config.batch_size));
  const long steps = batches * config.epochs;
  const std::int64_t first = first_trainable_layer(model.config, o.trainable_layers);
  AdamW optimiser(make_trainable(model, o.trainable_layers), 1e-8, o.weight_decay);
  TrainingState state(folder, o.checkpoint_seconds);
  const Json position = state.restore({{"sft", &optimiser}});
  long step = position.is_null() ? 0 : position.at("step").get<long>();
  double before = position.is_null() ? mean_loss(model, held_out) : position.at("held_out_before").get<double>();
  double tokens_seen = position.is_null() ? 0 : position.at("tokens").get<double>();

  std::vector<std::vector<int>> read;
  for (const TrainExample& e : train) read.emplace_back(e.tokens.begin(), e.tokens.end() - 1);
  const std::vector<at::Tensor> states = step < steps ? frozen_states(model, read, first, config.epochs) : std::vector<at::Tensor>();
  LmHead head(model.head, model.bfloat16);

  for (; step < steps; ++step) {
    state.maybe_save({{"step", step}, {"held_out_before", before}, {"tokens", tokens_seen}}, {{"sft", &optimiser}});
    const std::vector<std::size_t> order = Random(seed).derive("epoch").derive(static_cast<std::uint64_t>(step / batches)).permutation(train.size());
    std::vector<const TrainExample*> examples;
    std::vector<at::Tensor> below;
    double weight = 0, tokens = 0;
    for (std::size_t i = static_cast<std::size_t>(step % batches * config.batch_size); i < std::min(train.size(), static_cast<std::size_t>((step % batches + 1) * config.batch_size)); ++i) {
      const TrainExample& e = train[order[i]];
      examples.push_back(&e);
      if (!states.empty()) below.push_back(states[order[i]]);
      const double n = static_cast<double>(e.tokens.size()) - std::max(1, e.prompt_tokens);
      tokens += n, weight += e.weight * n;
    }
    double loss = 0, decision = 0;
    for (const auto& [from, to] : micro_batches(lengths_of(examples), kMicroBatchTokens)) {
      const std::vector<const TrainExample*> some(examples.begin() + static_cast<std::ptrdiff_t>(from), examples.begin() + static_cast<std::ptrdiff_t>(to));
      AnswerBatch b = answer_batch(some);
      const std::int64_t answers = b.rows.size(0);
      const std::vector<const Decision*> decisions = config.decision_weight > 0 ? add_decisions(b, some) : std::vector<const Decision*>();
      const std::vector<at::Tensor> mine = below.empty() ? below : std::vector<at::Tensor>(below.begin() + static_cast<std::ptrdiff_t>(from), below.begin() + static_cast<std::ptrdiff_t>(to));
      const at::Tensor logs = answer_log_probabilities(model, head, b, first, mine);
      const at::Tensor part = -(logs.narrow(0, 0, answers) * b.weights).sum() / weight;  // token mean over the whole step
      loss += part.item<double>();
      if (decisions.empty()) {
        part.backward();
      } else {
        const at::Tensor of_decisions = decision_loss(logs.narrow(0, answers, logs.size(0) - answers), decisions, config.answering_weight) / static_cast<double>(examples.size());
        decision += of_decisions.item<double>();
        (part + config.decision_weight * of_decisions).backward();
      }
    }
    const double rate = scheduled_rate(o, o.learning_rate, step, steps);
    const double norm = optimiser.step(rate, o.max_gradient_norm);
    if (model.head.requires_grad()) head = LmHead(model.head, model.bfloat16);
    if (!std::isfinite(loss) || !std::isfinite(decision) || !std::isfinite(norm))
      throw TrainingError("sft: loss or gradient is not finite at step " + std::to_string(step + 1) + "; try a lower sft.learning_rate");
    tokens_seen += tokens;
    const Json figures = {{"step", step + 1}, {"loss", loss}, {"decision_loss", decision}, {"gradient_norm", norm}, {"learning_rate", rate}, {"tokens", tokens}};
    state.log(figures);
    if (observe) observe(step + 1, steps, figures);
  }
  Json figures = {{"steps", steps}, {"examples", train.size()}, {"tokens", tokens_seen}};
  const std::vector<Json> lines = state.history();
  double last = 0;
  const std::size_t window = std::min<std::size_t>(lines.size(), 5);
  for (std::size_t i = lines.size() - window; i < lines.size(); ++i) last += lines[i].at("loss").get<double>() / static_cast<double>(window);
  if (!lines.empty()) figures["first_loss"] = lines.front().at("loss"), figures["train_loss"] = last;
  figures["held_out_examples"] = held_out.size();
  if (!held_out.empty()) figures["held_out_loss_before"] = before, figures["held_out_loss"] = mean_loss(model, held_out);
  state.finish();
  return figures;
}

}  // namespace cai
