// PPO's tensor side, with the reward as a function, so that a task with a known optimum can be trained too.
#pragma once

#include <functional>

#include "cai/model/llama.hpp"
#include "cai/model/reward_model.hpp"
#include "cai/train/ppo_math.hpp"
#include "cai/train/train.hpp"

namespace cai {

class Engine;

/// What checks give in the reward: from -kCheckReward (no principle followed) to kCheckReward (all of them).
/// A reward model's scores have a spread of 1.
constexpr double kCheckReward = 2;

/// Taken off the checked part of the reward of an answer that was cut, beside ppo.missing_stop_penalty.
constexpr double kCutPenalty = 1;

/// The reward where checks give the part `checked` of it: `followed` as in Followed::score, `score` of the
/// reward model.
inline double mixed_reward(double checked, double followed, double score) {
  return checked * kCheckReward * (2 * followed - 1) + (1 - checked) * score;
}

/// Normalised scores of whole sequences (prompt and answer), one each. `states`: each sequence's hidden
/// states [length, width] after the first `layers` layers, which the policy and `value` have in common and
/// which do not learn; empty when layers is 0.
using Scorer = std::function<std::vector<double>(const std::vector<std::vector<int>>& sequences,
                                                 const std::vector<at::Tensor>& states, std::int64_t layers)>;

/// score_rewards for sequences whose states below `layers` are known.
std::vector<double> score_rewards(const RewardModel& model, const std::vector<std::vector<int>>& sequences,
                                  const std::vector<at::Tensor>& states, std::int64_t layers);

/// Adam's epsilon in PPO: `config.epsilon`, or by the number of learning weights where that is 0. 1e-5
/// steadies the first steps of a small model; of a large one, whose gradient of norm 1 has entries of about
/// 1e-5, it would damp every step.
double adam_epsilon(const PpoConfig& config, std::int64_t learning_weights);

/// As train_ppo; `value` is the value model to start from (its own copy is trained), `score` gives the
/// rewards. `engine` holds the policy as it comes in, and afterwards as it was before the last update.
Json train_ppo_with(Llama& policy, RewardModel value, const Scorer& score,
                    const std::vector<PpoPrompt>& prompts, const AnswerText& text, const PpoConfig& config,
                    Engine& engine, std::uint64_t seed, const std::filesystem::path& folder,
                    const StepObserver& observe);

/// One update's losses at the current weights. Tensors have one entry a response token of the (mini)batch.
struct PpoLosses {
  at::Tensor policy, value;  // sums over tokens; divide by the token count of the optimiser step
  double clipped = 0;  // tokens whose gradient the clip takes: a ratio above the range where the advantage is
                       // positive, below it where negative
  double approximate_kl = 0;  // sum over tokens of (log ratio)^2 / 2
  double value_clipped = 0;   // tokens whose value's gradient the clip takes
};

/// Sum over tokens of k3 = exp(ref - log p) - (ref - log p) - 1 (Schulman 2020), the KL(policy || reference)
/// that GRPO has in its loss (Shao et al. 2024, eq. 4). Both [n] float32, `log_reference` detached;
/// differences are held within 20.
at::Tensor sampled_kl(const at::Tensor& log_new, const at::Tensor& log_reference);

/// Clipped ratio and clipped value losses (Schulman et al. 2017, eq. 7; Ziegler et al. 2019). All [n]
/// float32, detached but for *_new. policy = sum max(-A rho, -A clip(rho, 1 +- clip_ratio)); value = 0.5 sum
/// max((v - R)^2, (clip(v, V +- clip_value) - R)^2).
PpoLosses ppo_losses(const at::Tensor& log_new, const at::Tensor& log_old, const at::Tensor& advantages,
                     const at::Tensor& value_new, const at::Tensor& value_old, const at::Tensor& returns,
                     double clip_ratio, double clip_value);

}  // namespace cai
