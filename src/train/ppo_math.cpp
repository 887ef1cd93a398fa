#include "cai/train/ppo_math.hpp"

#include <algorithm>
#include <cmath>

#include "cai/base/error.hpp"

namespace cai {

std::vector<double> token_rewards(const Rollout& r, double kl_coefficient) {
  std::vector<double> rewards(r.log_probabilities.size());
  for (std::size_t t = 0; t < rewards.size(); ++t)
    rewards[t] = -kl_coefficient * (r.log_probabilities[t] - r.reference[t]);
  if (!rewards.empty()) rewards.back() += r.score;
  return rewards;
}

Advantages estimate_advantages(const std::vector<double>& rewards, const std::vector<double>& values,
                               double gamma, double lambda) {
  if (rewards.size() != values.size())
    throw Bug("advantages of " + std::to_string(rewards.size()) + " rewards and " +
              std::to_string(values.size()) + " values");
  Advantages a{std::vector<double>(rewards.size()), std::vector<double>(rewards.size())};
  double next_value = 0, next_advantage = 0;
  for (std::size_t t = rewards.size(); t-- > 0;) {
    const double delta = rewards[t] + gamma * next_value - values[t];
    next_advantage = delta + gamma * lambda * next_advantage;
    next_value = values[t];
    a.advantages[t] = next_advantage;
    a.returns[t] = next_advantage + values[t];
  }
  return a;
}

void whiten(std::vector<std::vector<double>>& batch, bool keep_mean) {
  double n = 0, mean = 0, squares = 0;
  for (const auto& row : batch)
    for (double x : row)
      mean += x, n += 1;
  if (n < 2) throw Bug("whitening needs two tokens at least");
  mean /= n;
  for (const auto& row : batch)
    for (double x : row)
      squares += (x - mean) * (x - mean);
  const double scale = 1 / std::sqrt(squares / (n - 1) + 1e-8);
  for (auto& row : batch)
    for (double& x : row)
      x = (x - mean) * scale + (keep_mean ? mean : 0);
}

std::vector<double> leave_one_out(const std::vector<double>& scores) {
  if (scores.size() < 2) throw Bug("leave-one-out needs two samples a prompt");
  double sum = 0;
  for (double s : scores)
    sum += s;
  std::vector<double> a;
  for (double s : scores)
    a.push_back(s - (sum - s) / (static_cast<double>(scores.size()) - 1));
  return a;
}

std::vector<double> group_relative(const std::vector<double>& scores) {
  if (scores.size() < 2) throw Bug("group-relative advantages need two samples a prompt");
  const double n = static_cast<double>(scores.size());
  double mean = 0, squares = 0;
  for (double s : scores)
    mean += s / n;
  for (double s : scores)
    squares += (s - mean) * (s - mean);
  const double std = std::sqrt(squares / (n - 1));
  std::vector<double> a;
  for (double s : scores)
    a.push_back(std > 1e-8 ? (s - mean) / std : 0);
  return a;
}

double adapt_kl_coefficient(double coefficient, double kl, double target, double episodes, double horizon) {
  if (!std::isfinite(kl)) return coefficient;
  return coefficient * (1 + std::clamp(kl / target - 1, -0.2, 0.2) * episodes / horizon);
}

double k2(double d) {
  return d * d / 2;
}

double k3(double d) {
  const double held = std::clamp(d, -20.0, 20.0);
  return std::exp(-held) - 1 + held;
}

}  // namespace cai
