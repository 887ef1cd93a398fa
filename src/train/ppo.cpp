#include "cai/train/ppo.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"
#include "cai/base/text.hpp"
#include "cai/engine/engine.hpp"
#include "cai/train/guards.hpp"
#include "cai/train/loss.hpp"
#include "cai/train/ppo_update.hpp"
#include "cai/train/rollouts.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace {

// Spreads one pass's values over its sequences.
template <class Put>
void scatter(const Rollouts& r, const std::vector<std::size_t>& which, const at::Tensor& values, Put put) {
  const at::Tensor v = values.detach().contiguous();
  const float* next = v.data_ptr<float>();
  for (std::size_t i : which)
    for (std::size_t t = 0; t < r.sequences[i].size() - static_cast<std::size_t>(r.prompt_tokens[i]); ++t) put(i, *next++);
}

std::vector<std::size_t> all_of(const Rollouts& r) {
  std::vector<std::size_t> all(r.sequences.size());
  std::iota(all.begin(), all.end(), 0);
  return all;
}

at::Tensor gather(const std::vector<std::vector<double>>& values, const std::vector<std::size_t>& which) {
  std::vector<float> all;
  for (std::size_t i : which)
    for (double v : values[i]) all.push_back(static_cast<float>(v));
  return at::tensor(all, at::kFloat);
}

}  // namespace

PpoLosses ppo_losses(const at::Tensor& log_new, const at::Tensor& log_old, const at::Tensor& advantages, const at::Tensor& value_new,
                     const at::Tensor& value_old, const at::Tensor& returns, double clip_ratio, double clip_value) {
  PpoLosses l;
  if (log_new.defined()) {
    const at::Tensor log_ratio = log_new - log_old, ratio = log_ratio.exp();
    l.policy = at::max(-advantages * ratio, -advantages * ratio.clamp(1 - clip_ratio, 1 + clip_ratio)).sum();
    l.clipped = (ratio.detach() - 1).abs().gt(clip_ratio).sum().item<double>();
    l.approximate_kl = 0.5 * log_ratio.detach().square().sum().item<double>();
  }
  if (value_new.defined()) {
    const at::Tensor held = at::max(at::min(value_new, value_old + clip_value), value_old - clip_value);
    l.value = 0.5 * at::max((value_new - returns).square(), (held - returns).square()).sum();
    l.value_clipped = (value_new.detach() - value_old).abs().gt(clip_value).sum().item<double>();
  }
  return l;
}

namespace {

class Ppo {
 public:
  Ppo(Llama& policy, RewardModel start_value, const Scorer& score, const PpoConfig& config, Engine& engine, std::uint64_t seed, const std::filesystem::path& folder);
  Json train(const std::vector<PpoPrompt>& prompts, const std::vector<int>& stops, const StepObserver& observe);

 private:
  using Indices = std::vector<std::size_t>;

  Rollouts roll_out(const std::vector<PpoPrompt>& prompts, const std::vector<int>& stops, long update);
  void measure(Rollouts& r, const std::vector<int>& stops);
  std::vector<at::Tensor> keep_trunk(Rollouts& r, const std::vector<std::vector<int>>& ended) const;
  Losses learn(const Rollouts& r, const Estimates& e, long update);
  Losses learn_from(const Rollouts& r, const Estimates& e, const Indices& batch, long update);

  Part part(const Rollouts& r, const Indices& which, const Llama& model) const;
  std::vector<Indices> parts(const Rollouts& r, const Indices& order) const { return parts_of(r, order, shared_, policy_.config.layers); }
  std::vector<std::pair<std::string, AdamW*>> groups() { return {{"policy", &policy_optimiser_}, {"value", &value_optimiser_}}; }
  Random random(long update) const { return Random(seed_).derive("update").derive(static_cast<std::uint64_t>(update)); }
  bool policy_learns(long update) const { return !with_critic_ || update >= config_.critic_warmup; }
  double rate(long update) const { return scheduled_rate(config_.optimiser, config_.optimiser.learning_rate, update, config_.updates); }
  double value_rate(long update) const { return scheduled_rate(config_.optimiser, config_.value_learning_rate, update, config_.updates); }

  const PpoConfig& config_;
  const Scorer& score_;
  const std::uint64_t seed_;
  const bool with_critic_;
  const bool divergence_weighs_;  // in the loss: what the reference says is kept then
  // The reference is the policy as it came in: a shallow copy keeps the old tensors, make_trainable gives the policy its own.
  Llama& policy_;
  Llama reference_;
  RewardModel value_;
  // Layers that are the same frozen tensors in several models, so that their states are computed once a round: those of the reward model too, and those of the models
  // that learn and of the reference.
  const std::int64_t scored_, shared_;
  AdamW policy_optimiser_, value_optimiser_;  // one gradient for both, see learn_from
  TrainingState state_;
  const Json position_;
  const LmHead reference_head_;
  LmHead policy_head_;
  Engine& engine_;
  std::vector<Json> history_;
  double kl_coefficient_;
};

// From here on the reference alone holds the weights that the policy came with, and needs no more of their matrices than products do.
NamedTensors part_ways(Llama& policy, Llama& reference, long layers) {
  NamedTensors weights = make_trainable(policy, layers);
  round_matrices(reference, first_trainable_layer(policy.config, layers));
  return weights;
}

NamedTensors critic_weights(RewardModel& value, long layers) {
  NamedTensors weights = make_trainable(value.trunk, layers);
  value.score = value.score.detach().clone().requires_grad_(true);
  weights.emplace_back("score.weight", value.score);
  return weights;
}

Ppo::Ppo(Llama& policy, RewardModel start_value, const Scorer& score, const PpoConfig& config, Engine& engine, std::uint64_t seed, const std::filesystem::path& folder)
    : config_(config),
      score_(score),
      seed_(seed),
      with_critic_(config.advantage == "gae"),
      divergence_weighs_(config.divergence_weight > 0 || config.harmless_divergence_weight > 0),
      policy_(policy),
      reference_(policy),
      value_(std::move(start_value)),
      scored_(std::min(first_trainable_layer(policy.config, config.optimiser.trainable_layers), shared_layers(reference_, value_.trunk))),
      shared_(with_critic_ ? scored_ : first_trainable_layer(policy.config, config.optimiser.trainable_layers)),
      policy_optimiser_(part_ways(policy, reference_, config.optimiser.trainable_layers), 1e-5, config.optimiser.weight_decay),
      value_optimiser_(with_critic_ ? critic_weights(value_, config.optimiser.trainable_layers) : NamedTensors(), 1e-5, config.optimiser.weight_decay, 0.999, &policy_optimiser_),
      state_(folder, config.optimiser.checkpoint_seconds),
      position_(state_.restore(groups())),
      reference_head_(reference_.head, reference_.bfloat16, reference_.config.logit_cap),
      policy_head_(policy.head.requires_grad() ? LmHead(policy.head, policy.bfloat16, policy.config.logit_cap) : reference_head_),  // frozen: the same tensor
      engine_(engine),
      history_(state_.history()),
      kl_coefficient_(position_.is_null() ? config.kl_coefficient : position_.at("kl_coefficient").get<double>()) {
  if (scored_ > 0) value_.trunk.embedding = value_.trunk.head = reference_.embedding;  // what is the same is in memory once
  for (std::size_t i = 0; i < static_cast<std::size_t>(scored_); ++i) value_.trunk.layers[i] = reference_.layers[i];
}

// Answers to prompts in seeded order, a new order each time all were used.
Rollouts Ppo::roll_out(const std::vector<PpoPrompt>& prompts, const std::vector<int>& stops, long update) {
  Rollouts r;
  std::vector<Request> requests;
  std::vector<const PpoPrompt*> asked;
  for (long i = 0; i < config_.prompts_per_update; ++i) {
    const std::size_t drawn = static_cast<std::size_t>(update * config_.prompts_per_update + i);
    const PpoPrompt& prompt = prompts[Random(seed_).derive("order").derive(drawn / prompts.size()).permutation(prompts.size())[drawn % prompts.size()]];
    for (long s = 0; s < config_.samples_per_prompt; ++s) {
      r.group.push_back(static_cast<std::size_t>(i));
      r.divergence_weights.push_back(prompt.is_harmless ? config_.harmless_divergence_weight : config_.divergence_weight);
      asked.push_back(&prompt);
      requests.push_back({.prompt = prompt.tokens, .max_new_tokens = static_cast<int>(config_.max_new_tokens), .temperature = config_.temperature, .stops = stops,
                          .random = random(update).derive("rollout").derive(requests.size())});
    }
  }
  if (update > 0) engine_.refresh(policy_, first_trainable_layer(policy_.config, config_.optimiser.trainable_layers));
  std::vector<Completion> completions(requests.size());
  engine_.generate(requests, [&](std::size_t i, Completion c) { completions[i] = std::move(c); });
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (completions[i].tokens.empty()) throw InputError("ppo: prompt " + in_quotes(asked[i]->id) + " leaves no room for an answer");
    std::vector<int> sequence = requests[i].prompt;
    sequence.insert(sequence.end(), completions[i].tokens.begin(), completions[i].tokens.end());
    r.prompt_tokens.push_back(static_cast<int>(requests[i].prompt.size()));
    r.sequences.push_back(std::move(sequence));
    Rollout one;
    one.is_finished = completions[i].finish == Finish::kStop;
    r.rollouts.push_back(std::move(one));
    r.sampler.emplace_back(completions[i].log_probabilities.begin(), completions[i].log_probabilities.end());
  }
  return r;
}

// The states above the shared layers, of the sequences (kept in `r`; nothing without such layers, for then the embedding may learn) and above the reward model's, of them with
// their end (returned; empty where it shares none).
std::vector<at::Tensor> Ppo::keep_trunk(Rollouts& r, const std::vector<std::vector<int>>& ended) const {
  r.trunk.resize(r.sequences.size());
  if (shared_ == 0) return {};
  const at::NoGradGuard no_gradients;
  std::vector<at::Tensor> states(ended.size());
  for (const Indices& which : parts(r, all_of(r))) {
    std::vector<std::vector<int>> sequences;
    for (std::size_t i : which) sequences.push_back(ended[i]);
    const Packed packed = pack(sequences);
    const at::Tensor scored = run_layers(reference_, embed(reference_, packed.tokens), packed, 0, scored_), hidden = run_layers(reference_, scored, packed, scored_, shared_);
    for (std::size_t k = 0; k < which.size(); ++k) {
      const std::size_t i = which[k];
      const at::Tensor rows = at::tensor(rows_of(packed, k), at::kLong);
      if (scored_ > 0) states[i] = scored.index_select(0, rows);
      r.trunk[i] = hidden.index_select(0, rows.narrow(0, 0, static_cast<std::int64_t>(r.sequences[i].size())));
    }
  }
  return scored_ > 0 ? states : std::vector<at::Tensor>();
}

Part Ppo::part(const Rollouts& r, const Indices& which, const Llama& model) const {
  if (shared_ > 0) return part_of(r, which);
  Rollouts embedded = {.sequences = r.sequences, .prompt_tokens = r.prompt_tokens, .trunk = std::vector<at::Tensor>(r.sequences.size())};
  for (std::size_t i : which) embedded.trunk[i] = embed(model, at::tensor(std::vector<std::int64_t>(r.sequences[i].begin(), r.sequences[i].end()), at::kLong));
  return part_of(embedded, which);
}

// What the old policy, the reference and the value model say of each answer token, all by the training forward, and the scores.
void Ppo::measure(Rollouts& r, const std::vector<int>& stops) {
  // The reward was learned on answers that end: a cut one is scored as if it ended where it was cut.
  std::vector<std::vector<int>> ended = r.sequences;
  for (std::size_t i = 0; i < ended.size(); ++i)
    if (!r.rollouts[i].is_finished && !stops.empty()) ended[i].push_back(stops.front());
  const std::vector<at::Tensor> ended_trunk = keep_trunk(r, ended);
  {
    const at::NoGradGuard no_gradients;
    for (const Indices& which : parts(r, all_of(r))) {
      const Part of_policy = part(r, which, policy_), of_reference = part(r, which, reference_);
      const auto old_policy = token_log_probabilities(answer_states(policy_, of_policy, shared_), policy_head_, of_policy.targets, config_.temperature);
      scatter(r, which, old_policy.log_probabilities, [&](std::size_t i, float v) { r.rollouts[i].log_probabilities.push_back(v); });
      r.entropy += old_policy.entropies.sum().item<double>();
      r.tokens += static_cast<double>(old_policy.entropies.numel());
      const at::Tensor reference_states = answer_states(reference_, of_reference, shared_);
      scatter(r, which, token_log_probabilities(reference_states, reference_head_, of_reference.targets, config_.temperature).log_probabilities,
              [&](std::size_t i, float v) { r.rollouts[i].reference.push_back(v); });
      if (divergence_weighs_) {
        const NextTokens said = next_tokens(reference_states, reference_head_, config_.temperature, policy_.head.requires_grad());
        std::int64_t row = 0;
        for (std::size_t i : which) {  // parts follow the sequences' order here
          r.reference.push_back(said.rows(row, static_cast<std::int64_t>(r.rollouts[i].reference.size())));
          row += static_cast<std::int64_t>(r.rollouts[i].reference.size());
        }
      }
      if (with_critic_) scatter(r, which, token_values(value_, part(r, which, value_.trunk), shared_), [&](std::size_t i, float v) { r.rollouts[i].values.push_back(v); });
    }
  }
  r.raw_scores = score_(ended, ended_trunk, scored_);
  for (std::size_t i = 0; i < r.rollouts.size(); ++i) {
    Rollout& one = r.rollouts[i];
    one.score = std::clamp(r.raw_scores[i], -config_.reward_clip, config_.reward_clip) - (one.is_finished ? 0 : config_.missing_stop_penalty);
  }
}

Losses Ppo::learn(const Rollouts& r, const Estimates& e, long update) {
  Losses all;
  for (long epoch = 0; epoch < config_.epochs; ++epoch) {
    Indices order = all_of(r);
    if (config_.minibatches > 1) order = random(update).derive("epoch").derive(static_cast<std::uint64_t>(epoch)).permutation(order.size());
    const std::size_t per_batch = (order.size() + static_cast<std::size_t>(config_.minibatches) - 1) / static_cast<std::size_t>(config_.minibatches);
    for (std::size_t from = 0; from < order.size(); from += per_batch) {
      Indices batch(order.begin() + static_cast<std::ptrdiff_t>(from), order.begin() + static_cast<std::ptrdiff_t>(std::min(order.size(), from + per_batch)));
      std::sort(batch.begin(), batch.end());  // answers to one prompt side by side: a pass reads it once
      Losses step = learn_from(r, e, batch, update);
      if (all.steps > 0) step.first_log_ratio = 0;
      all.add(step);
      if (step.approximate_kl > config_.stop_epochs_at_kl) return all;
    }
  }
  return all;
}

// One step of the optimisers: the policy's, then the value model's, for the two have one gradient.
Losses Ppo::learn_from(const Rollouts& r, const Estimates& e, const Indices& batch, long update) {
  const double longest = config_.optimiser.max_gradient_norm;
  const std::vector<Indices> passes = parts(r, batch);
  Losses step;
  double tokens = 0;
  for (std::size_t i : batch) tokens += static_cast<double>(e.old_logs[i].size());
  const auto must_be_finite = [&](double value, const char* what) {
    if (!std::isfinite(value)) throw TrainingError("ppo: the " + std::string(what) + " is not finite at update " + std::to_string(update + 1) + "; try a lower ppo.learning_rate");
  };
  if (policy_learns(update)) {
    for (const Indices& which : passes) {
      const Part p = part(r, which, policy_);
      const at::Tensor log_old = gather(e.old_logs, which);
      std::vector<NextTokens> said;
      for (std::size_t i : which)
        if (divergence_weighs_) said.push_back(r.reference[i]);
      const std::optional<NextTokens> before = said.empty() ? std::nullopt : std::optional(joined(said));
      const TokenLogProbabilities now = token_log_probabilities(answer_states(policy_, p, shared_), policy_head_, p.targets, config_.temperature, before ? &*before : nullptr);
      const PpoLosses losses = ppo_losses(now.log_probabilities, log_old, gather(e.advantages, which), {}, {}, {}, config_.clip_ratio, config_.clip_value);
      step.first_log_ratio = std::max(step.first_log_ratio, (now.log_probabilities.detach() - log_old).abs().max().item<double>());
      at::Tensor objective = losses.policy / tokens;
      if (before) {
        std::vector<float> weights;  // of each answer token
        for (std::size_t i : which) weights.insert(weights.end(), e.old_logs[i].size(), static_cast<float>(r.divergence_weights[i]));
        step.divergence += now.divergences.sum().item<double>() / tokens;
        objective = objective + (now.divergences * at::tensor(weights)).sum() / tokens;
      }
      objective.backward();
      step.policy += losses.policy.item<double>() / tokens, step.approximate_kl += losses.approximate_kl / tokens, step.clipped += losses.clipped / tokens;
    }
    must_be_finite(step.policy, "loss");
    step.norm = policy_optimiser_.step(rate(update), longest);
    must_be_finite(step.norm, "gradient");
    if (policy_.head.requires_grad()) policy_head_.refresh();
  }
  if (with_critic_) {
    for (const Indices& which : passes) {
      const PpoLosses losses = ppo_losses({}, {}, {}, token_values(value_, part(r, which, value_.trunk), shared_), gather(e.old_values, which), gather(e.returns, which), config_.clip_ratio, config_.clip_value);
      (losses.value / tokens).backward();
      step.value += losses.value.item<double>() / tokens, step.value_clipped += losses.value_clipped / tokens;
    }
    must_be_finite(step.value, "loss");
    step.value_norm = value_optimiser_.step(value_rate(update), longest);
    must_be_finite(step.value_norm, "gradient");
  }
  return step;
}

Json Ppo::train(const std::vector<PpoPrompt>& prompts, const std::vector<int>& stops, const StepObserver& observe) {
  for (long update = position_.is_null() ? 0 : position_.at("update").get<long>(); update < config_.updates; ++update) {
    state_.maybe_save({{"update", update}, {"kl_coefficient", kl_coefficient_}}, groups());
    Rollouts r = roll_out(prompts, stops, update);
    measure(r, stops);
    const Estimates estimates = estimate(r, config_, kl_coefficient_);
    const Losses losses = learn(r, estimates, update);
    Json figures = {{"update", update + 1}, {"kl_coefficient", kl_coefficient_}, {"learning_rate", policy_learns(update) ? rate(update) : 0.0}};
    figures.update(update_figures(r, estimates, losses, config_));
    state_.log(figures);
    history_.push_back(figures);
    if (observe) observe(update + 1, config_.updates, figures);
    if (const std::string problem = training_problem(history_, config_); !problem.empty())
      throw TrainingError("ppo: update " + std::to_string(update + 1) + ": " + problem);
    if (config_.adaptive_kl)
      kl_coefficient_ = adapt_kl_coefficient(kl_coefficient_, figures.at("kl").get<double>(), config_.kl_target, static_cast<double>(r.rollouts.size()), config_.kl_horizon);
  }
  state_.finish();

  Json figures = {{"updates", config_.updates}, {"shared_layers", shared_}};
  figures.update(run_figures(history_));
  return figures;
}

}  // namespace

Json train_ppo_with(Llama& policy, RewardModel start_value, const Scorer& score, const std::vector<PpoPrompt>& prompts, const std::vector<int>& stops,
                    const PpoConfig& config, Engine& engine, std::uint64_t seed, const std::filesystem::path& folder, const StepObserver& observe) {
  if (prompts.empty()) throw InputError("ppo: no prompts");
  if (config.advantage != "gae" && config.samples_per_prompt < 2) throw InputError("ppo.advantage " + config.advantage + " needs ppo.samples_per_prompt of 2 or more");
  return Ppo(policy, std::move(start_value), score, config, engine, seed, folder).train(prompts, stops, observe);
}

}  // namespace cai
