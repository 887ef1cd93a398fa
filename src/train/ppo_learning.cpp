#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/model/tensors.hpp"
#include "cai/train/ppo_run.hpp"

namespace cai {
namespace {

at::Tensor gather(const std::vector<std::vector<double>>& values, const std::vector<std::size_t>& which,
                  const at::Device& device) {
  std::vector<float> all;
  for (std::size_t i : which)
    for (double v : values[i])
      all.push_back(static_cast<float>(v));
  return on(device, all);
}

}  // namespace

Losses Ppo::learn(const Rollouts& r, const Estimates& e, long update) {
  Losses all;
  for (long epoch = 0; epoch < config_.epochs; ++epoch) {
    Indices order = r.all();
    if (config_.minibatches > 1)
      order =
          random(update).derive("epoch").derive(static_cast<std::uint64_t>(epoch)).permutation(order.size());
    const std::size_t per_batch = (order.size() + static_cast<std::size_t>(config_.minibatches) - 1) /
                                  static_cast<std::size_t>(config_.minibatches);
    for (std::size_t from = 0; from < order.size(); from += per_batch) {
      Indices batch(order.begin() + static_cast<std::ptrdiff_t>(from),
                    order.begin() + static_cast<std::ptrdiff_t>(std::min(order.size(), from + per_batch)));
      std::sort(batch.begin(), batch.end());  // answers to one prompt side by side: a pass reads it once
      const double share = all.steps == 0 && shows_share(update) ? reward_share(r, e, batch) : -1;
      Losses step = learn_from(r, e, batch, update);
      step.reward_share = share;
      if (all.steps > 0) step.first_log_ratio = 0;
      all.add(step);
      if (step.approximate_kl > config_.stop_epochs_at_kl) return all;
    }
  }
  return all;
}

// Gradients of the chosen terms of the policy's loss over a step's answers.
void Ppo::add_policy_gradients(const Rollouts& r, const Estimates& e, const Indices& batch, Terms terms,
                               Losses& step) {
  double tokens = 0;
  for (std::size_t i : batch)
    tokens += static_cast<double>(e.old_logs[i].size());
  const std::vector<double> weight_of = divergence_weights(r, batch, config_);
  std::map<std::size_t, double> weights;
  for (std::size_t k = 0; k < batch.size(); ++k)
    weights[batch[k]] = weight_of[k];
  for (const Indices& which : parts(r, batch)) {
    const Part p = part(r, which, policy_);
    std::vector<NextTokens> said;
    for (std::size_t i : which)
      if (divergence_weighs_) said.push_back(r.reference[i]);
    const std::optional<NextTokens> before = said.empty() ? std::nullopt : std::optional(joined(said));
    const TokenLogProbabilities now =
        token_log_probabilities(answer_states(policy_, p, shared_), policy_head_, p.targets,
                                config_.temperature, before ? &*before : nullptr);
    at::Tensor objective = at::zeros({}, now.log_probabilities.options().requires_grad(false));
    if (terms != Terms::kReference) {
      const at::Tensor log_old = gather(e.old_logs, which, policy_.device());
      const PpoLosses losses =
          ppo_losses(now.log_probabilities, log_old, gather(e.advantages, which, policy_.device()), {}, {},
                     {}, config_.clip_ratio, config_.clip_value);
      step.first_log_ratio = std::max(step.first_log_ratio,
                                      (now.log_probabilities.detach() - log_old).abs().max().item<double>());
      step.policy += losses.policy.item<double>() / tokens,
          step.approximate_kl += losses.approximate_kl / tokens, step.clipped += losses.clipped / tokens;
      objective = objective + losses.policy / tokens;
    }
    if (before && terms != Terms::kReward) {
      std::vector<float> token_weights;
      for (std::size_t i : which)
        token_weights.insert(token_weights.end(), e.old_logs[i].size(), static_cast<float>(weights[i]));
      step.divergence += now.divergences.sum().item<double>() / tokens;
      objective = objective + (now.divergences * on(policy_.device(), token_weights)).sum();
    }
    if (config_.advantage == "grpo" && terms != Terms::kReward)
      objective = objective +
                  kl_coefficient_ / tokens *
                      sampled_kl(now.log_probabilities, gather(e.reference_logs, which, policy_.device()));
    if (objective.requires_grad()) objective.backward();
  }
}

void Ppo::add_value_gradients(const Rollouts& r, const Estimates& e, const Indices& batch, Losses& step) {
  double tokens = 0;
  for (std::size_t i : batch)
    tokens += static_cast<double>(e.old_logs[i].size());
  for (const Indices& which : parts(r, batch)) {
    const PpoLosses losses =
        ppo_losses({}, {}, {}, token_values(value_, part(r, which, value_.trunk), shared_),
                   gather(e.old_values, which, policy_.device()), gather(e.returns, which, policy_.device()),
                   config_.clip_ratio, config_.clip_value);
    (losses.value / tokens).backward();
    step.value += losses.value.item<double>() / tokens, step.value_clipped += losses.value_clipped / tokens;
  }
}

// Of the norms of the two parts' gradients the part of what the reward asks for.
double Ppo::reward_share(const Rollouts& r, const Estimates& e, const Indices& batch) {
  Losses unused;
  add_policy_gradients(r, e, batch, Terms::kReward, unused);
  const double of_reward = policy_optimiser_.take_norm();
  add_policy_gradients(r, e, batch, Terms::kReference, unused);
  const double of_reference = policy_optimiser_.take_norm();
  return of_reward + of_reference > 0 ? of_reward / (of_reward + of_reference) : 0;
}

// One step of the optimisers: the policy's, then the value model's, for the two have one gradient.
Losses Ppo::learn_from(const Rollouts& r, const Estimates& e, const Indices& batch, long update) {
  const double longest = config_.optimiser.max_gradient_norm;
  Losses step;
  const auto must_be_finite = [&](double value, const char* what) {
    if (!std::isfinite(value))
      throw TrainingError("ppo: the " + std::string(what) + " is not finite at update " +
                          std::to_string(update + 1) + "; try a lower ppo.learning_rate");
  };
  if (policy_learns(update)) {
    add_policy_gradients(r, e, batch, Terms::kAll, step);
    must_be_finite(step.policy, "loss");
    step.norm = policy_optimiser_.step(rate(update), longest);
    must_be_finite(step.norm, "gradient");
    if (policy_.head.requires_grad()) policy_head_.refresh();
  }
  if (with_critic_) {
    add_value_gradients(r, e, batch, step);
    must_be_finite(step.value, "loss");
    step.value_norm = value_optimiser_.step(value_rate(update), longest);
    must_be_finite(step.value_norm, "gradient");
  }
  return step;
}

}  // namespace cai
