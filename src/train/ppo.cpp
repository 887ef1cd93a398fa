#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <span>
#include <utility>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/engine/engine.hpp"
#include "cai/model/tensors.hpp"
#include "cai/train/guards.hpp"
#include "cai/train/ppo_run.hpp"
#include "cai/train/trainable.hpp"

namespace cai {
namespace {

// Spreads one pass's values over its sequences.
template <class Put>
void scatter(const Rollouts& r, const std::vector<std::size_t>& which, const at::Tensor& values, Put put) {
  const at::Tensor v = values.detach().cpu().contiguous();
  const float* next = v.data_ptr<float>();
  for (std::size_t i : which)
    for (std::size_t t = 0; t < r.sequences[i].size() - static_cast<std::size_t>(r.prompt_tokens[i]); ++t)
      put(i, *next++);
}

// From here on the reference alone holds the weights that the policy came with, and needs no more of their
// matrices than products do. An adapter leaves both on the same weights.
NamedTensors part_ways(Llama& policy, Llama& reference, const OptimiserConfig& optimiser,
                       std::uint64_t seed) {
  NamedTensors weights = make_trainable(policy, optimiser, seed);
  if (optimiser.lora.rank == 0) round_matrices(reference, first_trainable_layer(policy.config, optimiser));
  return weights;
}

NamedTensors critic_weights(RewardModel& value, const OptimiserConfig& optimiser, std::uint64_t seed) {
  NamedTensors weights = make_trainable(value.trunk, optimiser, Random(seed).derive("value").next(), false);
  value.score = value.score.detach().clone().requires_grad_(true);
  weights.emplace_back("score.weight", value.score);
  return weights;
}

std::int64_t weight_count(const NamedTensors& weights) {
  std::int64_t n = 0;
  for (const auto& [name, w] : weights)
    n += w.numel();
  return n;
}

}  // namespace

Ppo::Ppo(Llama& policy, RewardModel start_value, const Scorer& score, const PpoConfig& config, Engine& engine,
         std::uint64_t seed, const std::filesystem::path& folder)
    : config_(config),
      score_(score),
      seed_(seed),
      with_critic_(config.advantage == "gae"),
      divergence_weighs_(config.divergence_weight > 0 || config.harmless_divergence_weight > 0),
      policy_(policy),
      reference_(policy),
      value_(std::move(start_value)),
      scored_(std::min(first_trainable_layer(policy.config, config.optimiser),
                       shared_layers(reference_, value_.trunk))),
      shared_(with_critic_ ? scored_ : first_trainable_layer(policy.config, config.optimiser)),
      policy_weights_(part_ways(policy, reference_, config.optimiser, seed)),
      policy_optimiser_(policy_weights_, adam_epsilon(config, weight_count(policy_weights_)),
                        config.optimiser.weight_decay),
      value_optimiser_(with_critic_ ? critic_weights(value_, config.optimiser, seed) : NamedTensors(),
                       adam_epsilon(config, weight_count(policy_weights_)), config.optimiser.weight_decay,
                       0.999, &policy_optimiser_),
      state_(folder, config.optimiser.checkpoint_seconds),
      position_(state_.restore(groups())),
      reference_head_(reference_.head, reference_.place.bfloat16, reference_.config.logit_cap),
      policy_head_(policy.head.requires_grad()
                       ? LmHead(policy.head, policy.place.bfloat16, policy.config.logit_cap)
                       : reference_head_),  // frozen: the same tensor
      engine_(engine),
      history_(state_.history()),
      kl_coefficient_(position_.is_null() ? config.kl_coefficient
                                          : position_.at("kl_coefficient").get<double>()) {
  if (scored_ > 0)
    value_.trunk.embedding = value_.trunk.head = reference_.embedding;  // what is the same is in memory once
  for (std::size_t i = 0; i < static_cast<std::size_t>(scored_); ++i)
    value_.trunk.layers[i] = reference_.layers[i];
}

Rollouts Ppo::roll_out(const std::vector<PpoPrompt>& prompts, const std::vector<int>& stops, long update) {
  Rollouts r;
  std::vector<Request> requests;
  std::vector<const PpoPrompt*> asked;
  PromptOrder order(prompts.size(), seed_);
  for (long i = 0; i < config_.prompts_per_update; ++i) {
    const std::size_t number = order.at(static_cast<std::size_t>(update * config_.prompts_per_update + i));
    const PpoPrompt& prompt = prompts[number];
    for (long s = 0; s < config_.samples_per_prompt; ++s) {
      r.group.push_back(static_cast<std::size_t>(i));
      r.prompt.push_back(number);
      r.checked.push_back(prompt.checked);
      r.is_harmless.push_back(prompt.is_harmless);
      asked.push_back(&prompt);
      requests.push_back({.prompt = prompt.tokens,
                          .max_new_tokens = static_cast<int>(config_.max_new_tokens),
                          .temperature = config_.temperature,
                          .stops = stops,
                          .random = random(update).derive("rollout").derive(requests.size())});
    }
  }
  if (update > 0) engine_.refresh(policy_, first_trainable_layer(policy_.config, config_.optimiser));
  std::vector<Completion> completions(requests.size());
  engine_.generate(requests, [&](std::size_t i, Completion c) { completions[i] = std::move(c); });
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (completions[i].tokens.empty())
      throw InputError("ppo: prompt " + in_quotes(asked[i]->id) + " leaves no room for an answer");
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

// The states above the shared layers, of the sequences (kept in `r`; nothing without such layers, for then
// the embedding may learn) and above the reward model's, of them as they are scored (returned; empty where it
// shares none).
std::vector<at::Tensor> Ppo::keep_trunk(Rollouts& r, const std::vector<std::vector<int>>& ended) const {
  r.trunk.resize(r.sequences.size());
  if (shared_ == 0) return {};
  const at::NoGradGuard no_gradients;
  std::vector<at::Tensor> states(ended.size());
  for (const Indices& which : parts(r, r.all())) {
    std::vector<std::vector<int>> sequences;
    for (std::size_t i : which)
      sequences.push_back(r.sequences[i]),
          sequences.push_back(ended[i]);  // side by side: a pass reads what is the same once
    const Packed packed = pack(sequences, reference_.device());
    const at::Tensor scored = run_layers(reference_, embed(reference_, packed.tokens), packed, 0, scored_),
                     hidden = run_layers(reference_, scored, packed, scored_, shared_);
    for (std::size_t k = 0; k < which.size(); ++k) {
      const std::size_t i = which[k];
      r.trunk[i] = hidden.index_select(0, on(reference_.device(), rows_of(packed, 2 * k)));
      if (scored_ > 0)
        states[i] = scored.index_select(0, on(reference_.device(), rows_of(packed, 2 * k + 1)));
    }
  }
  return scored_ > 0 ? states : std::vector<at::Tensor>();
}

Part Ppo::part(const Rollouts& r, const Indices& which, const Llama& model) const {
  if (shared_ > 0) return part_of(r, which);
  Rollouts embedded = {.sequences = r.sequences,
                       .prompt_tokens = r.prompt_tokens,
                       .trunk = std::vector<at::Tensor>(r.sequences.size())};
  for (std::size_t i : which)
    embedded.trunk[i] = embed(
        model, on(model.device(), std::vector<std::int64_t>(r.sequences[i].begin(), r.sequences[i].end())));
  return part_of(embedded, which);
}

// What the old policy, the reference and the value model say of each answer token, all by the training
// forward, and the scores.
void Ppo::measure(Rollouts& r, const AnswerText& text) {
  std::vector<std::vector<int>> ended;
  for (std::size_t i = 0; i < r.sequences.size(); ++i)
    ended.push_back(scored_sequence(r.sequences[i], r.prompt_tokens[i], r.rollouts[i].is_finished, text));
  const std::vector<at::Tensor> ended_trunk = keep_trunk(r, ended);
  {
    const at::NoGradGuard no_gradients;
    for (const Indices& which : parts(r, r.all())) {
      const Part of_policy = part(r, which, policy_), of_reference = part(r, which, reference_);
      const auto old_policy = token_log_probabilities(answer_states(policy_, of_policy, shared_),
                                                      policy_head_, of_policy.targets, config_.temperature);
      scatter(r, which, old_policy.log_probabilities,
              [&](std::size_t i, float v) { r.rollouts[i].log_probabilities.push_back(v); });
      r.entropy += old_policy.entropies.sum().item<double>();
      r.tokens += static_cast<double>(old_policy.entropies.numel());
      const at::Tensor reference_states = answer_states(reference_, of_reference, shared_);
      scatter(r, which,
              token_log_probabilities(reference_states, reference_head_, of_reference.targets,
                                      config_.temperature)
                  .log_probabilities,
              [&](std::size_t i, float v) { r.rollouts[i].reference.push_back(v); });
      if (divergence_weighs_) {
        const NextTokens said =
            next_tokens(reference_states, reference_head_, of_reference.targets, config_.temperature,
                        policy_.head.requires_grad(), config_.divergence_direction == "reverse");
        std::int64_t row = 0;
        for (std::size_t i : which) {  // parts follow the sequences' order here
          r.reference.push_back(said.rows(row, static_cast<std::int64_t>(r.rollouts[i].reference.size())));
          row += static_cast<std::int64_t>(r.rollouts[i].reference.size());
        }
      }
      if (with_critic_)
        scatter(r, which, token_values(value_, part(r, which, value_.trunk), shared_),
                [&](std::size_t i, float v) { r.rollouts[i].values.push_back(v); });
    }
  }
  score(r, text, ended, ended_trunk);
}

void Ppo::score(Rollouts& r, const AnswerText& text, const std::vector<std::vector<int>>& ended,
                const std::vector<at::Tensor>& states) const {
  const auto answer = [&](std::size_t i) {
    std::span<const int> all(r.sequences[i]);
    if (r.rollouts[i].is_finished) all = all.first(all.size() - 1);  // its stop token
    return all.subspan(static_cast<std::size_t>(r.prompt_tokens[i]));
  };
  if (config_.reward == "rule") {
    for (std::size_t i = 0; i < r.sequences.size(); ++i)
      r.raw_scores.push_back(text.declines(answer(i)) == r.is_harmless[i] ? -1 : 1);
  } else {
    const bool is_asked =
        std::any_of(r.checked.begin(), r.checked.end(), [](double share) { return share < 1; });
    r.raw_scores = is_asked ? score_(ended, states, scored_) : std::vector<double>(r.sequences.size());
    r.followed.resize(r.sequences.size());
    for (std::size_t i = 0; i < r.sequences.size(); ++i) {
      if (r.checked[i] == 0) continue;
      r.followed[i] = text.follows(r.prompt[i], answer(i));
      r.raw_scores[i] = mixed_reward(r.checked[i], r.followed[i].score, r.raw_scores[i]);
    }
  }
  for (std::size_t i = 0; i < r.rollouts.size(); ++i) {
    Rollout& one = r.rollouts[i];
    // A check looks at what is there: without this, answers that never end would follow most rules.
    const double penalty = config_.missing_stop_penalty + r.checked[i] * kCutPenalty;
    one.score = std::clamp(r.raw_scores[i], -config_.reward_clip, config_.reward_clip) -
                (one.is_finished ? 0 : penalty);
  }
}

Json Ppo::train(const std::vector<PpoPrompt>& prompts, const AnswerText& text, const StepObserver& observe) {
  for (long update = position_.is_null() ? 0 : position_.at("update").get<long>(); update < config_.updates;
       ++update) {
    state_.maybe_save({{"update", update}, {"kl_coefficient", kl_coefficient_}}, groups());
    Rollouts r = roll_out(prompts, text.stops, update);
    measure(r, text);
    const Estimates estimates = estimate(r, config_, kl_coefficient_);
    const Losses losses = learn(r, estimates, update);
    Json figures = {{"update", update + 1},
                    {"kl_coefficient", kl_coefficient_},
                    {"learning_rate", policy_learns(update) ? rate(update) : 0.0}};
    figures.update(update_figures(r, estimates, losses, config_));
    state_.log(figures);
    history_.push_back(figures);
    if (observe) observe(update + 1, config_.updates, figures);
    if (const std::string problem = training_problem(history_, config_); !problem.empty())
      throw TrainingError("ppo: update " + std::to_string(update + 1) + ": " + problem);
    if (config_.adaptive_kl)
      kl_coefficient_ =
          adapt_kl_coefficient(kl_coefficient_, figures.at("kl").get<double>(), config_.kl_target,
                               static_cast<double>(r.rollouts.size()), config_.kl_horizon);
  }
  state_.finish();

  Json figures = {{"updates", config_.updates}, {"shared_layers", shared_}};
  figures.update(run_figures(history_, config_));
  return figures;
}

Json train_ppo_with(Llama& policy, RewardModel start_value, const Scorer& score,
                    const std::vector<PpoPrompt>& prompts, const AnswerText& text, const PpoConfig& config,
                    Engine& engine, std::uint64_t seed, const std::filesystem::path& folder,
                    const StepObserver& observe) {
  if (prompts.empty()) throw InputError("ppo: no prompts");
  if (config.advantage != "gae" && config.samples_per_prompt < 2)
    throw InputError("ppo.advantage " + config.advantage + " needs ppo.samples_per_prompt of 2 or more");
  if (config.advantage != "gae" && config.whiten_rewards)
    throw InputError("ppo.whiten_rewards needs ppo.advantage gae, not " + config.advantage);
  const auto is_checked = [](const PpoPrompt& prompt) { return prompt.checked > 0; };
  if (!text.follows && std::any_of(prompts.begin(), prompts.end(), is_checked))
    throw Bug("ppo: prompts have checks, and nothing applies them");
  if (config.reward == "rule" && !text.declines)
    throw InputError("ppo.reward rule needs to know which answers decline");
  return Ppo(policy, std::move(start_value), score, config, engine, seed, folder)
      .train(prompts, text, observe);
}

}  // namespace cai
