#include "cai/train/ppo.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"
#include "cai/base/statistics.hpp"
#include "cai/engine/engine.hpp"
#include "cai/train/guards.hpp"
#include "cai/train/loss.hpp"
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

at::Tensor gather(const std::vector<std::vector<double>>& values, const std::vector<std::size_t>& which) {
  std::vector<float> all;
  for (std::size_t i : which)
    for (double v : values[i]) all.push_back(static_cast<float>(v));
  return at::tensor(all, at::kFloat);
}

// Slope of y in x by least squares, 0 when x does not vary.
double slope(const std::vector<double>& x, const std::vector<double>& y) {
  const double n = static_cast<double>(x.size());
  const double mx = std::accumulate(x.begin(), x.end(), 0.0) / n, my = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xy = 0, xx = 0;
  for (std::size_t i = 0; i < x.size(); ++i) xy += (x[i] - mx) * (y[i] - my), xx += (x[i] - mx) * (x[i] - mx);
  return xx > 0 ? xy / xx : 0;
}

// Answers before and after: what PPO gained is known to about 0.15 of a standard deviation. No more of them than of rollouts.
std::size_t sample_count(const PpoConfig& config) {
  return static_cast<std::size_t>(std::clamp(config.updates * config.prompts_per_update * config.samples_per_prompt, 16L, 160L));
}

struct Moments { double mean = 0, std = 0; };

Moments moments(const std::vector<double>& v) {
  Moments m;
  for (double x : v) m.mean += x / static_cast<double>(v.size());
  for (double x : v) m.std += (x - m.mean) * (x - m.mean);
  m.std = v.size() > 1 ? std::sqrt(m.std / static_cast<double>(v.size() - 1)) : 0;
  return m;
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

Json train_ppo_with(Llama& policy, const RewardModel& start_value, const Scorer& score, const std::vector<PpoPrompt>& prompts, const std::vector<int>& stops,
                    const PpoConfig& config, const EngineConfig& engine_config, std::uint64_t seed, const std::filesystem::path& folder, const StepObserver& observe) {
  if (prompts.empty()) throw InputError("ppo: no prompts");
  if (config.advantage != "gae" && config.samples_per_prompt < 2) throw InputError("ppo.advantage " + config.advantage + " needs ppo.samples_per_prompt of 2 or more");
  const OptimiserConfig& o = config.optimiser;
  const bool with_critic = config.advantage == "gae";

  // The reference is the policy as it came in: a shallow copy keeps the old tensors, make_trainable gives the policy its own.
  const Llama reference = policy;
  AdamW policy_optimiser(make_trainable(policy, o.trainable_layers), 1e-5, o.weight_decay);
  RewardModel value = start_value;
  NamedTensors value_weights;
  if (with_critic) {
    value_weights = make_trainable(value.trunk, o.trainable_layers);
    value.score = value.score.detach().clone().requires_grad_(true);
    value_weights.emplace_back("score.weight", value.score);
  }
  AdamW value_optimiser(value_weights, 1e-5, o.weight_decay);

  // Layers below `shared` are the same frozen tensors in all models, so their states are computed once a round.
  const std::int64_t shared = o.trainable_layers <= 0 ? 0 : std::min(first_trainable_layer(policy.config, o.trainable_layers), shared_layers(reference, start_value.trunk));

  TrainingState state(folder, o.checkpoint_seconds);
  const std::vector<std::pair<std::string, AdamW*>> groups = {{"policy", &policy_optimiser}, {"value", &value_optimiser}};
  const Json position = state.restore(groups);
  long update = position.is_null() ? 0 : position.at("update").get<long>();
  double kl_coefficient = position.is_null() ? config.kl_coefficient : position.at("kl_coefficient").get<double>();
  const LmHead reference_head(reference.head, reference.bfloat16);
  LmHead policy_head = policy.head.requires_grad() ? LmHead(policy.head, policy.bfloat16) : reference_head;  // frozen: the same tensor
  std::vector<Json> history = state.history();
  Engine engine(policy, {.dtype = engine_config.dtype, .max_sequences = static_cast<int>(engine_config.max_sequences)});

  for (; update < config.updates; ++update) {
    state.maybe_save({{"update", update}, {"kl_coefficient", kl_coefficient}}, groups);
    const Random random = Random(seed).derive("update").derive(static_cast<std::uint64_t>(update));

    // Rollouts: prompts in seeded order, a new order each time all were used.
    Rollouts r;
    std::vector<Request> requests;
    for (long i = 0; i < config.prompts_per_update; ++i) {
      const std::size_t drawn = static_cast<std::size_t>(update * config.prompts_per_update + i);
      const PpoPrompt& prompt = prompts[Random(seed).derive("order").derive(drawn / prompts.size()).permutation(prompts.size())[drawn % prompts.size()]];
      for (long s = 0; s < config.samples_per_prompt; ++s) {
        r.group.push_back(static_cast<std::size_t>(i));
        requests.push_back({.prompt = prompt.tokens, .max_new_tokens = static_cast<int>(config.max_new_tokens), .temperature = config.temperature, .stops = stops,
                            .random = random.derive("rollout").derive(requests.size())});
      }
    }
    if (update > 0) engine.refresh(policy);
    std::vector<Completion> completions(requests.size());
    engine.generate(requests, [&](std::size_t i, Completion c) { completions[i] = std::move(c); });
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      if (completions[i].tokens.empty()) throw InputError("ppo: prompt \"" + prompts[i % prompts.size()].id + "\" leaves no room for an answer");
      std::vector<int> sequence = requests[i].prompt;
      sequence.insert(sequence.end(), completions[i].tokens.begin(), completions[i].tokens.end());
      r.prompt_tokens.push_back(static_cast<int>(requests[i].prompt.size()));
      r.sequences.push_back(std::move(sequence));
      Rollout one;
      one.is_finished = completions[i].finish == Finish::kStop;
      r.rollouts.push_back(std::move(one));
      r.sampler.emplace_back(completions[i].log_probabilities.begin(), completions[i].log_probabilities.end());
      order.push_back(i);
    }

    // The reward was learned on answers that end: a cut one is scored as if it ended where it was cut.
    std::vector<std::vector<int>> ended = r.sequences;
    for (std::size_t i = 0; i < ended.size(); ++i)
      if (!r.rollouts[i].is_finished && !stops.empty()) ended[i].push_back(stops.front());

    // Measured by the training forward: old policy, reference, values.
    double entropy = 0, tokens = 0;
    r.trunk.resize(r.sequences.size()), r.reference.clear();
    std::vector<at::Tensor> ended_trunk(shared > 0 ? ended.size() : 0);
    {
      const at::NoGradGuard no_gradients;
      for (const auto& which : parts_of(r, order, shared, policy.config.layers)) {
        std::vector<std::vector<int>> sequences;
        for (std::size_t i : which) sequences.push_back(ended[i]);
        const Packed packed = pack(sequences);
        const at::Tensor hidden = run_layers(reference, embed(reference, packed.tokens), packed, 0, shared);
        for (std::size_t k = 0; k < which.size() && shared > 0; ++k) {  // with shared 0 the embedding may learn: nothing can be kept
          const std::size_t i = which[k];
          ended_trunk[i] = hidden.index_select(0, at::tensor(rows_of(packed, k), at::kLong));
          r.trunk[i] = ended_trunk[i].narrow(0, 0, static_cast<std::int64_t>(r.sequences[i].size()));
        }
      }
    }
    const auto part = [&](const std::vector<std::size_t>& which, const Llama& model) {
      if (shared > 0) return part_of(r, which);
      Rollouts embedded = {r.sequences, r.prompt_tokens, {}, {}, {}, {}, std::vector<at::Tensor>(r.sequences.size()), {}};
      for (std::size_t i : which) embedded.trunk[i] = embed(model, at::tensor(std::vector<std::int64_t>(r.sequences[i].begin(), r.sequences[i].end()), at::kLong));
      return part_of(embedded, which);
    };
    {
      const at::NoGradGuard no_gradients;
      for (const auto& which : parts_of(r, order, shared, policy.config.layers)) {
        const Part of_policy = part(which, policy), of_reference = part(which, reference);
        const auto old_policy = token_log_probabilities(answer_states(policy, of_policy, shared), policy_head, of_policy.targets, config.temperature);
        scatter(r, which, old_policy.log_probabilities, [&](std::size_t i, float v) { r.rollouts[i].log_probabilities.push_back(v); });
        entropy += old_policy.entropies.sum().item<double>();
        tokens += static_cast<double>(old_policy.entropies.numel());
        const at::Tensor reference_states = answer_states(reference, of_reference, shared);
        scatter(r, which, token_log_probabilities(reference_states, reference_head, of_reference.targets, config.temperature).log_probabilities,
                [&](std::size_t i, float v) { r.rollouts[i].reference.push_back(v); });
        if (config.divergence_weight > 0) {
          const NextTokens said = next_tokens(reference_states, reference_head, config.temperature, policy.head.requires_grad());
          std::int64_t row = 0;
          for (std::size_t i : which) {  // parts follow the sequences' order here
            r.reference.push_back(said.rows(row, static_cast<std::int64_t>(r.rollouts[i].reference.size())));
            row += static_cast<std::int64_t>(r.rollouts[i].reference.size());
          }
        }
        if (with_critic)
          scatter(r, which, token_values(value, part(which, value.trunk), shared), [&](std::size_t i, float v) { r.rollouts[i].values.push_back(v); });
      }
    }
    r.raw_scores = score(ended, ended_trunk, shared);
    double clipped_scores = 0, finished = 0;
    std::vector<double> lengths, sequence_kl;
    double kl3 = 0, sampler_k3 = 0;
    for (std::size_t i = 0; i < r.rollouts.size(); ++i) {
      Rollout& one = r.rollouts[i];
      clipped_scores += std::abs(r.raw_scores[i]) > config.reward_clip;
      one.score = std::clamp(r.raw_scores[i], -config.reward_clip, config.reward_clip) - (one.is_finished ? 0 : config.missing_stop_penalty);
      finished += one.is_finished;
      lengths.push_back(static_cast<double>(one.log_probabilities.size()));
      double kl = 0;
      for (std::size_t t = 0; t < one.log_probabilities.size(); ++t) {
        kl += one.log_probabilities[t] - one.reference[t];
        kl3 += k3(one.log_probabilities[t] - one.reference[t]) / tokens;
        if (config.temperature == 1) sampler_k3 += k3(r.sampler[i][t] - one.log_probabilities[t]) / tokens;
      }
      sequence_kl.push_back(kl);
    }

    // Advantages.
    std::vector<std::vector<double>> rewards, advantages, returns, old_logs, old_values;
    for (const Rollout& one : r.rollouts) rewards.push_back(token_rewards(one, kl_coefficient)), old_logs.push_back(one.log_probabilities), old_values.push_back(one.values);
    if (config.whiten_rewards) whiten(rewards, true);
    std::vector<double> totals;
    for (const auto& row : rewards) totals.push_back(std::accumulate(row.begin(), row.end(), 0.0));
    double explained_variance = 0;
    if (with_critic) {
      std::vector<double> all_returns, errors;
      for (std::size_t i = 0; i < rewards.size(); ++i) {
        Advantages a = estimate_advantages(rewards[i], r.rollouts[i].values, config.gamma, config.lambda);
        for (std::size_t t = 0; t < a.returns.size(); ++t) all_returns.push_back(a.returns[t]), errors.push_back(a.returns[t] - r.rollouts[i].values[t]);
        advantages.push_back(std::move(a.advantages)), returns.push_back(std::move(a.returns));
      }
      const double variance = std::pow(moments(all_returns).std, 2);
      explained_variance = variance > 0 ? 1 - std::pow(moments(errors).std, 2) / variance : 0;
    } else {
      advantages.resize(rewards.size());
      for (long g = 0; g < config.prompts_per_update; ++g) {
        std::vector<std::size_t> members;
        std::vector<double> scores;
        for (std::size_t i = 0; i < r.group.size(); ++i)
          if (r.group[i] == static_cast<std::size_t>(g)) members.push_back(i), scores.push_back(totals[i]);
        const std::vector<double> a = config.advantage == "rloo" ? leave_one_out(scores) : group_relative(scores);
        for (std::size_t k = 0; k < members.size(); ++k) advantages[members[k]].assign(rewards[members[k]].size(), a[k]);
      }
    }
    if (config.advantage != "grpo") whiten(advantages);

    // Updates.
    const double rate = scheduled_rate(o, o.learning_rate, update, config.updates), value_rate = scheduled_rate(o, config.value_learning_rate, update, config.updates);
    const bool policy_learns = !with_critic || update >= config.critic_warmup;
    double policy_loss = 0, value_loss = 0, divergence = 0, approximate_kl = 0, clip_share = 0, value_clip_share = 0, norm = 0, value_norm = 0, first_ratio_error = 0;
    long optimiser_steps = 0;
    bool stop_epochs = false;
    for (long epoch = 0; epoch < config.epochs && !stop_epochs; ++epoch) {
      std::vector<std::size_t> epoch_order = order;
      if (config.minibatches > 1) {
        const std::vector<std::size_t> shuffled = random.derive("epoch").derive(static_cast<std::uint64_t>(epoch)).permutation(order.size());
        for (std::size_t i = 0; i < order.size(); ++i) epoch_order[i] = order[shuffled[i]];
      }
      const std::size_t per_batch = (epoch_order.size() + static_cast<std::size_t>(config.minibatches) - 1) / static_cast<std::size_t>(config.minibatches);
      for (std::size_t from = 0; from < epoch_order.size() && !stop_epochs; from += per_batch) {
        std::vector<std::size_t> batch(epoch_order.begin() + static_cast<std::ptrdiff_t>(from), epoch_order.begin() + static_cast<std::ptrdiff_t>(std::min(epoch_order.size(), from + per_batch)));
        std::sort(batch.begin(), batch.end());  // answers to one prompt side by side: a pass reads it once
        double batch_tokens = 0, batch_kl = 0, batch_clipped = 0, batch_value_clipped = 0, batch_policy = 0, batch_value = 0, batch_divergence = 0;
        for (std::size_t i : batch) batch_tokens += static_cast<double>(old_logs[i].size());
        for (const auto& which : parts_of(r, batch, shared, policy.config.layers)) {
          // One model after the other, so that only one's activations are there.
          PpoLosses of_policy, of_value;
          if (policy_learns) {
            const Part p = part(which, policy);
            const at::Tensor log_old = gather(old_logs, which);
            std::vector<NextTokens> said;
            for (std::size_t i : which)
              if (config.divergence_weight > 0) said.push_back(r.reference[i]);
            const std::optional<NextTokens> before = said.empty() ? std::nullopt : std::optional(joined(said));
            const TokenLogProbabilities now = token_log_probabilities(answer_states(policy, p, shared), policy_head, p.targets, config.temperature, before ? &*before : nullptr);
            of_policy = ppo_losses(now.log_probabilities, log_old, gather(advantages, which), {}, {}, {}, config.clip_ratio, config.clip_value);
            if (epoch == 0 && from == 0) first_ratio_error = std::max(first_ratio_error, (now.log_probabilities.detach() - log_old).abs().max().item<double>());
            at::Tensor objective = of_policy.policy / batch_tokens;
            if (before) {
              const at::Tensor of_reference = now.divergences.sum() / batch_tokens;
              batch_divergence += of_reference.item<double>();
              objective = objective + config.divergence_weight * of_reference;
            }
            objective.backward();
            batch_policy += of_policy.policy.item<double>() / batch_tokens;
          }
          if (with_critic) {
            of_value = ppo_losses({}, {}, {}, token_values(value, part(which, value.trunk), shared), gather(old_values, which), gather(returns, which), config.clip_ratio, config.clip_value);
            (of_value.value / batch_tokens).backward();
            batch_value += of_value.value.item<double>() / batch_tokens;
          }
          batch_kl += of_policy.approximate_kl / batch_tokens, batch_clipped += of_policy.clipped / batch_tokens, batch_value_clipped += of_value.value_clipped / batch_tokens;
        }
        if (!std::isfinite(batch_policy) || !std::isfinite(batch_value))
          throw TrainingError("ppo: the loss is not finite at update " + std::to_string(update + 1) + "; try a lower ppo.learning_rate");
        if (policy_learns) norm = policy_optimiser.step(rate, o.max_gradient_norm);
        if (policy_learns && policy.head.requires_grad()) policy_head = LmHead(policy.head, policy.bfloat16);
        if (with_critic) value_norm = value_optimiser.step(value_rate, o.max_gradient_norm);
        if (!std::isfinite(norm) || !std::isfinite(value_norm))
          throw TrainingError("ppo: the gradient is not finite at update " + std::to_string(update + 1) + "; try a lower ppo.learning_rate");
        divergence += batch_divergence, policy_loss += batch_policy, value_loss += batch_value, clip_share += batch_clipped, value_clip_share += batch_value_clipped;
        approximate_kl = batch_kl;
        ++optimiser_steps;
        stop_epochs = batch_kl > config.stop_epochs_at_kl;
      }
    }

    const double n = static_cast<double>(optimiser_steps);
    const Moments kl = moments(sequence_kl), scores = moments(r.raw_scores), length = moments(lengths), total = moments(totals);
    Json figures = {{"update", update + 1}, {"score", scores.mean}, {"score_std", scores.std}, {"reward", total.mean}, {"kl", kl.mean}, {"kl_k3", kl3},
                          {"sampler_k3", sampler_k3}, {"kl_coefficient", kl_coefficient}, {"entropy", entropy / tokens}, {"policy_loss", policy_loss / n},
                          {"approximate_kl", approximate_kl}, {"clip_share", clip_share / n},
                          {"first_log_ratio", first_ratio_error}, {"gradient_norm", norm},
                          {"learning_rate", policy_learns ? rate : 0.0}, {"tokens", tokens}, {"length", length.mean}, {"length_slope", slope(lengths, r.raw_scores)},
                          {"stop_rate", finished / static_cast<double>(r.rollouts.size())}, {"scores_clipped", clipped_scores}, {"distinct_2", distinct_pairs(r)},
                          {"common_opening", common_opening(r)}, {"optimiser_steps", optimiser_steps}};
    if (config.divergence_weight > 0) figures["divergence"] = divergence / n;
    if (with_critic)
      figures.update({{"value_loss", value_loss / n}, {"explained_variance", explained_variance}, {"value_clip_share", value_clip_share / n}, {"value_gradient_norm", value_norm}});
    state.log(figures);
    history.push_back(figures);
    if (observe) observe(update + 1, config.updates, figures);
    if (const std::string problem = training_problem(history, config); !problem.empty())
      throw TrainingError("ppo: update " + std::to_string(update + 1) + ": " + problem);
    if (config.adaptive_kl) kl_coefficient = adapt_kl_coefficient(kl_coefficient, kl.mean, config.kl_target, static_cast<double>(r.rollouts.size()), config.kl_horizon);
  }
  state.finish();

  Json figures = {{"updates", config.updates}, {"shared_layers", shared}};
  if (!history.empty()) {
    const auto mean_of = [&](std::size_t from, std::size_t to, const char* name) {
      double sum = 0;
      for (std::size_t i = from; i < to; ++i) sum += history[i].at(name).get<double>() / static_cast<double>(to - from);
      return sum;
    };
    const std::size_t third = std::max<std::size_t>(1, history.size() / 3);
    for (const char* name : {"score", "kl", "entropy", "length", "stop_rate", "explained_variance"})
      if (history.front().contains(name))
      figures[name] = {{"first_third", mean_of(0, third, name)}, {"last_third", mean_of(history.size() - third, history.size(), name)}};
  }
  return figures;
}

Json train_ppo(Llama& policy, const RewardModel& reward, const std::vector<PpoPrompt>& prompts, const std::vector<int>& stops, const PpoConfig& config,
               const EngineConfig& engine, std::uint64_t seed, const std::filesystem::path& folder, const StepObserver& observe) {
  if (prompts.empty()) throw InputError("ppo: no prompts");
  // The same prompts and random streams before and after: the reward's mean and spread become those of the policy that comes in, whatever
  // answers its labels were made of, and the difference says what PPO has gained.
  const auto answers = [&] {
    const std::vector<std::size_t> order = Random(seed).derive("sampled prompts").permutation(prompts.size());
    std::vector<Request> requests;
    for (std::size_t i = 0; i < sample_count(config); ++i)
      requests.push_back({.prompt = prompts[order[i % order.size()]].tokens, .max_new_tokens = static_cast<int>(config.max_new_tokens), .temperature = config.temperature,
                          .stops = stops, .random = Random(seed).derive("sample").derive(i)});
    std::vector<std::vector<int>> sequences(requests.size());
    Engine(policy, {.dtype = engine.dtype, .max_sequences = static_cast<int>(engine.max_sequences)}).generate(requests, [&](std::size_t i, Completion c) {
      sequences[i] = requests[i].prompt;
      sequences[i].insert(sequences[i].end(), c.tokens.begin(), c.tokens.end());
      if (c.finish != Finish::kStop && !stops.empty()) sequences[i].push_back(stops.front());
    });
    return sequences;
  };
  const std::vector<std::vector<int>> before = answers();
  RewardModel judge = reward;
  normalise_rewards(judge, before);

  // The value model takes the reward model's trunk with a head of zero: between the tokens the reward model was never asked, and a start
  // from "average" explains more than a start from noise.
  RewardModel value = judge;
  value.score = at::zeros_like(judge.score);
  value.mean = 0, value.std = 1;
  const auto score = [&](const std::vector<std::vector<int>>& sequences, const std::vector<at::Tensor>& states, std::int64_t layers) { return score_rewards(judge, sequences, states, layers); };
  Json figures = train_ppo_with(policy, value, score, prompts, stops, config, engine, seed, folder, observe);
  const std::vector<double> first = score_rewards(judge, before), last = score_rewards(judge, answers());
  const auto interval = [](const Interval& i) { return Json{{"value", i.value}, {"low", i.low}, {"high", i.high}, {"n", i.n}}; };
  figures["score_gained"] = interval(bootstrap_difference(last, first, 2000, seed));
  figures["normalisation"] = {{"mean", judge.mean}, {"std", judge.std}, {"samples", before.size()}};
  return figures;
}

}  // namespace cai
