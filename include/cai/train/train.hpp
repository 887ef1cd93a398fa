// What every training stage shares: examples, figures, options that come from the config. No torch here.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/io/json.hpp"

namespace cai {

struct Llama;
struct RewardModel;

/// A place in an answer where going on decides whether it declines.
struct Decision {
  int at = 0;                 // tokens of the answer before it
  bool declines = false;      // what the example does there
  std::vector<int> openings;  // the tokens by which declining answers go on
};

/// Loss on tokens[prompt_tokens ..] only.
struct TrainExample {
  std::string id;
  std::vector<int> tokens;
  int prompt_tokens = 0;
  double weight = 1;  // of each of those tokens
  bool as_before =
      false;  // what the model said of each next token before training is learned, not the tokens
  std::vector<Decision> decisions;
};

/// Two answers to one prompt and how likely `a` is the better one.
struct PreferencePair {
  std::string id;
  std::vector<int> a, b;  // prompt and answer, stop token included
  int prompt_tokens = 0;  // the same in both
  double p = 1;           // P(a is better), soft
  double weight = 1;
  std::string tag;  // prompt kind, for figures by kind
};

struct PpoPrompt {
  std::string id;
  std::vector<int> tokens;
  bool is_harmless = false;  // to be answered: PpoConfig::harmless_divergence_weight is for these
  double checked = 0;        // part of its reward that checks give, 0 to 1; the reward model gives the rest
};

/// How far an answer follows the principles with a check.
struct Followed {
  double score = 0;                                          // 0 (none) to 1 (all), by weight
  std::vector<std::pair<std::string, double>> by_principle;  // id and share of its rules that hold
};

/// What is known of answers' text, in token ids.
struct AnswerText {
  std::vector<int> stops;  // as in Request; the reward model was taught with the first one

  /// Leading tokens up to the last whole sentence, 0 when there is none. Empty: nothing is known of
  /// sentences.
  std::function<std::size_t(std::span<const int> answer)> whole;

  /// Whether the answer declines; for ppo.reward rule.
  std::function<bool(std::span<const int> answer)> declines;

  /// What checks say of an answer to the prompt of this number; for prompts with PpoPrompt::checked above 0.
  std::function<Followed(std::size_t prompt, std::span<const int> answer)> follows;
};

/// Progress of a training stage: one call a step, with the figures that went to metrics.jsonl.
using StepObserver = std::function<void(long step, long steps, const Json& figures)>;

/// A folder being trained in holds metrics.jsonl and state/ (weights, optimiser, position) until the stage is
/// done; a trainer called again on it continues from the last state, and the result is bit for bit that of an
/// uninterrupted run.

/// Supervised fine-tuning (Bai et al. 2022, section 3): packed sequences, token-mean cross-entropy. Trains
/// `model` in place. Examples that are to stay as before have in its place the divergence KL(before || now)
/// of each next-token distribution from that of `model` as it comes in. Beside it the decision loss: whether
/// an answer declines is decided in its first tokens, whatever words follow. With d the probability of a
/// decision's openings together, it is -log d where the example declines and -log(1 - d) where it answers
/// (answering_weight times that at the first token), summed over an example's decisions, in the mean over a
/// step's examples, times decision_weight. In the end each weight is before_share of its value before and the
/// rest of what was learned (Wortsman et al. 2022, section 3). Returns figures: train_loss (of learned
/// tokens), divergence (of those that stay), held_out_loss before and after (of all tokens), tokens, steps.
Json train_sft(Llama& model, const std::vector<TrainExample>& train,
               const std::vector<TrainExample>& held_out, const SftConfig& config, std::uint64_t seed,
               const std::filesystem::path& folder, const StepObserver& observe);

/// Bradley-Terry on soft labels. `model` comes in as a copy of the SL-CAI trunk with a fresh head.
/// Returns figures: held-out accuracy with Wilson interval, by tag, loss minus label entropy, ECE, length
/// baseline, length correlation.
Json train_reward(RewardModel& model, const std::vector<PreferencePair>& train,
                  const std::vector<PreferencePair>& held_out, const RewardConfig& config, std::uint64_t seed,
                  const std::filesystem::path& folder, const StepObserver& observe);

/// Direct preference optimisation (Rafailov et al. 2023, eq. 7) on soft labels, the reference being `policy`
/// as it comes in: with m = beta ((log pi(a) - log ref(a)) - (log pi(b) - log ref(b))) over whole answers,
/// the loss is -p log s(m) - (1 - p) log s(-m). Trains `policy` in place. Returns figures: on held-out pairs
/// the loss and how often m has the label's sign, with Wilson interval.
Json train_dpo(Llama& policy, const std::vector<PreferencePair>& train,
               const std::vector<PreferencePair>& held_out, const DpoConfig& config, std::uint64_t seed,
               const std::filesystem::path& folder, const StepObserver& observe);

/// A fresh reward model on a copy of `trunk`.
std::shared_ptr<RewardModel> new_reward_model(const Llama& trunk, std::uint64_t seed, long layers = 0);

/// Normalised rewards of whole sequences, in order.
std::vector<double> score_rewards(const RewardModel& model, const std::vector<std::vector<int>>& sequences);

/// Sets mean and std so that `sequences` (policy samples) have mean 0 and std 1. Returns their rewards.
std::vector<double> normalise_rewards(RewardModel& model, const std::vector<std::vector<int>>& sequences);

/// PPO against `reward`, whose weights are taken, the reference being `policy` as it comes in. Trains
/// `policy` in place.
Json train_ppo(Llama& policy, const std::shared_ptr<RewardModel>& reward,
               const std::vector<PpoPrompt>& prompts, const AnswerText& text, const PpoConfig& config,
               const EngineConfig& engine, std::uint64_t seed, const std::filesystem::path& folder,
               const StepObserver& observe);

/// Mean log-probability per token of each example's loss part under `model` (float32, training forward).
std::vector<double> example_log_probabilities(const Llama& model, const std::vector<TrainExample>& examples);

}  // namespace cai
