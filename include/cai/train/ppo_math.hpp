// PPO's arithmetic on one batch of responses, in plain vectors: everything that is decided before gradients.
// No torch here. Symbols as in the papers: r reward, V value, A advantage, R return; response tokens t = 0 ..
// T-1, the stop token included.
#pragma once

#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// One response. All vectors have one entry a response token.
struct Rollout {
  std::vector<double>
      log_probabilities;  // of the sampled tokens under the policy that sampled them (training forward)
  std::vector<double> reference;  // under the reference
  std::vector<double> values;     // V of the state before the token
  double score = 0;               // of the whole response: normalised, clipped, penalised
  bool is_finished = true;        // ended with a stop token
};

/// r_t = -kl_coefficient * (log p - log p_ref) + [t = T-1] * score (Ziegler et al. 2019, section 2). k1,
/// which alone gives an unbiased gradient.
std::vector<double> token_rewards(const Rollout& rollout, double kl_coefficient);

struct Advantages {
  std::vector<double> advantages, returns;
};

/// Generalised advantage estimation (Schulman et al. 2016, eq. 16), V_T = 0: a cut response counts as ended.
/// Nothing is normalised here. Throws Bug unless both have the same length.
Advantages estimate_advantages(const std::vector<double>& rewards, const std::vector<double>& values,
                               double gamma, double lambda);

/// Zero mean, unit variance (n - 1) over all tokens of the batch together, in place. Throws Bug for fewer
/// than two tokens.
void whiten(std::vector<std::vector<double>>& batch, bool keep_mean = false);

/// Leave-one-out advantages of one prompt's samples (Ahmadian et al. 2024). At least two scores.
std::vector<double> leave_one_out(const std::vector<double>& scores);

/// (score - mean) / std over one prompt's samples, n - 1 (Shao et al. 2024). Zeros when all are equal.
std::vector<double> group_relative(const std::vector<double>& scores);

/// The next coefficient (Ziegler et al. 2019, section 2.2): proportional to the clipped relative error,
/// scaled by episodes / horizon.
double adapt_kl_coefficient(double coefficient, double kl, double target, double episodes, double horizon);

/// KL estimators of d = log p - log p_ref (Schulman 2020): k1 = d, k2 = d^2 / 2, k3 = exp(-d) - 1 + d with d
/// held within 20.
double k2(double d);
double k3(double d);

}  // namespace cai
