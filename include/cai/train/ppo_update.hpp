// One update of PPO in numbers: what it learns from, and what is said of it.
#pragma once

#include <vector>

#include "cai/config/config.hpp"
#include "cai/io/json.hpp"
#include "cai/train/rollouts.hpp"

namespace cai {

/// What an update learns from: by sequence and answer token.
struct Estimates {
  std::vector<std::vector<double>> old_logs, reference_logs, old_values, advantages,
      returns;                 // old_values and returns: with a value model only
  std::vector<double> totals;  // of each sequence's rewards
  double explained_variance = 0;
};

/// Rewards of measured rollouts, with `kl_coefficient` times the distance from the reference taken off, and
/// advantages as config.advantage says.
Estimates estimate(const Rollouts& rollouts, const PpoConfig& config, double kl_coefficient);

/// Weight in the loss of the divergence at each answer token of `batch`'s sequences, one a sequence: what its
/// prompt's kind weighs, less the part that checks have in its reward, over the tokens that it is a mean of
/// (ppo.divergence_mean).
std::vector<double> divergence_weights(const Rollouts& rollouts, const std::vector<std::size_t>& batch,
                                       const PpoConfig& config);

/// Of an update's optimiser steps: sums of their means over tokens, and what the last one said.
struct Losses {
  double policy = 0, value = 0, divergence = 0, clipped = 0, value_clipped = 0;
  double approximate_kl = 0, norm = 0, value_norm = 0;
  double reward_share = -1;    // of the gradient's norm; below 0: not measured
  double first_log_ratio = 0;  // largest |log ratio| before anything was learned
  long steps = 0;

  void add(const Losses& step);
};

/// What metrics.jsonl says of an update, beside what its caller decided: scores and lengths are means over
/// answers, kl is in nats an answer, kl_k3 and entropy in nats a token. Every tenth update and the last one
/// have reward_share: of the norms of the two parts of the policy's gradient, what the reward asks for and
/// what holds it to the reference in the loss, the first one's part.
Json update_figures(const Rollouts& rollouts, const Estimates& estimates, const Losses& losses,
                    const PpoConfig& config);

/// The first third of a run's updates beside the last one; how many of an update's optimiser steps were taken
/// before ppo.stop_epochs_at_kl ended it; the last update's reward_share. Empty without updates.
Json run_figures(const std::vector<Json>& updates, const PpoConfig& config);

}  // namespace cai
