// The parts of a PPO run: rollouts and what is measured on them (ppo.cpp), what is learned from them
// (ppo_learning.cpp).
#pragma once

#include <cstdint>
#include <filesystem>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "cai/base/random.hpp"
#include "cai/train/loss.hpp"
#include "cai/train/ppo.hpp"
#include "cai/train/ppo_update.hpp"
#include "cai/train/rollouts.hpp"
#include "cai/train/trainer.hpp"

namespace cai {

/// A run of PPO, one update after the other (train_ppo_with).
class Ppo {
 public:
  Ppo(Llama& policy, RewardModel start_value, const Scorer& score, const PpoConfig& config, Engine& engine,
      std::uint64_t seed, const std::filesystem::path& folder);
  Json train(const std::vector<PpoPrompt>& prompts, const AnswerText& text, const StepObserver& observe);

 private:
  using Indices = std::vector<std::size_t>;
  // Of the policy's loss: what the reward asks for, what holds it to the reference.
  enum class Terms { kAll, kReward, kReference };

  Rollouts roll_out(const std::vector<PpoPrompt>& prompts, const std::vector<int>& stops, long update);
  void measure(Rollouts& r, const AnswerText& text);
  void score(Rollouts& r, const AnswerText& text, const std::vector<std::vector<int>>& ended,
             const std::vector<at::Tensor>& states) const;
  std::vector<at::Tensor> keep_trunk(Rollouts& r, const std::vector<std::vector<int>>& ended) const;
  Losses learn(const Rollouts& r, const Estimates& e, long update);
  Losses learn_from(const Rollouts& r, const Estimates& e, const Indices& batch, long update);
  void add_policy_gradients(const Rollouts& r, const Estimates& e, const Indices& batch, Terms terms,
                            Losses& step);
  void add_value_gradients(const Rollouts& r, const Estimates& e, const Indices& batch, Losses& step);
  double reward_share(const Rollouts& r, const Estimates& e, const Indices& batch);

  Part part(const Rollouts& r, const Indices& which, const Llama& model) const;
  std::vector<Indices> parts(const Rollouts& r, const Indices& order) const {
    return parts_of(r, order, shared_, policy_.config.layers, policy_.device());
  }
  std::vector<std::pair<std::string, AdamW*>> groups() {
    return {{"policy", &policy_optimiser_}, {"value", &value_optimiser_}};
  }
  Random random(long update) const {
    return Random(seed_).derive("update").derive(static_cast<std::uint64_t>(update));
  }
  // At the first one the policy is the reference still. An update's first step has no clipped ratio yet.
  bool shows_share(long update) const {
    return policy_learns(update) && ((update + 1) % 10 == 0 || (update > 0 && update + 1 == config_.updates));
  }
  bool policy_learns(long update) const { return !with_critic_ || update >= config_.critic_warmup; }
  double rate(long update) const {
    return scheduled_rate(config_.optimiser, config_.optimiser.learning_rate, update, config_.updates);
  }
  double value_rate(long update) const {
    return scheduled_rate(config_.optimiser, config_.value_learning_rate, update, config_.updates);
  }

  const PpoConfig& config_;
  const Scorer& score_;
  const std::uint64_t seed_;
  const bool with_critic_;
  const bool divergence_weighs_;  // in the loss: what the reference says is kept then
  // The reference is the policy as it came in: a shallow copy keeps the old tensors, make_trainable gives the
  // policy its own.
  Llama& policy_;
  Llama reference_;
  RewardModel value_;
  // Layers that are the same frozen tensors in several models, so that their states are computed once a
  // round: those of the reward model too, and those of the models that learn and of the reference.
  const std::int64_t scored_, shared_;
  const NamedTensors policy_weights_;
  AdamW policy_optimiser_, value_optimiser_;  // one gradient for both, see learn_from
  TrainingState state_;
  const Json position_;
  const LmHead reference_head_;
  LmHead policy_head_;
  Engine& engine_;
  std::vector<Json> history_;
  double kl_coefficient_;
};

}  // namespace cai
