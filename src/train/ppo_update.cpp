#include "cai/train/ppo_update.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace cai {
namespace {

// Slope of y in x by least squares, 0 when x does not vary.
double slope(const std::vector<double>& x, const std::vector<double>& y) {
  const double n = static_cast<double>(x.size());
  const double mx = std::accumulate(x.begin(), x.end(), 0.0) / n,
               my = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xy = 0, xx = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    xy += (x[i] - mx) * (y[i] - my), xx += (x[i] - mx) * (x[i] - mx);
  return xx > 0 ? xy / xx : 0;
}

struct Moments {
  double mean = 0, std = 0;
};

Moments moments(const std::vector<double>& v) {
  Moments m;
  for (double x : v)
    m.mean += x / static_cast<double>(v.size());
  for (double x : v)
    m.std += (x - m.mean) * (x - m.mean);
  m.std = v.size() > 1 ? std::sqrt(m.std / static_cast<double>(v.size() - 1)) : 0;
  return m;
}

}  // namespace

Estimates estimate(const Rollouts& r, const PpoConfig& config, double kl_coefficient) {
  Estimates e;
  std::vector<std::vector<double>> rewards;
  for (const Rollout& one : r.rollouts)
    rewards.push_back(token_rewards(one, kl_coefficient)), e.old_logs.push_back(one.log_probabilities),
        e.reference_logs.push_back(one.reference), e.old_values.push_back(one.values);
  if (config.whiten_rewards) whiten(rewards, true);
  for (const auto& row : rewards)
    e.totals.push_back(std::accumulate(row.begin(), row.end(), 0.0));
  if (config.advantage == "gae") {
    std::vector<double> all_returns, errors;
    for (std::size_t i = 0; i < rewards.size(); ++i) {
      Advantages a = estimate_advantages(rewards[i], r.rollouts[i].values, config.gamma, config.lambda);
      for (std::size_t t = 0; t < a.returns.size(); ++t)
        all_returns.push_back(a.returns[t]), errors.push_back(a.returns[t] - r.rollouts[i].values[t]);
      e.advantages.push_back(std::move(a.advantages)), e.returns.push_back(std::move(a.returns));
    }
    const double variance = std::pow(moments(all_returns).std, 2);
    e.explained_variance = variance > 0 ? 1 - std::pow(moments(errors).std, 2) / variance : 0;
  } else {
    const bool is_grpo = config.advantage == "grpo";  // its KL is in the loss: by the spread of scores that
                                                      // agree, it would be all of the advantage
    e.advantages.resize(rewards.size());
    for (long g = 0; g < config.prompts_per_update; ++g) {
      std::vector<std::size_t> members;
      std::vector<double> scores;
      for (std::size_t i = 0; i < r.group.size(); ++i)
        if (r.group[i] == static_cast<std::size_t>(g))
          members.push_back(i), scores.push_back(is_grpo ? r.rollouts[i].score : e.totals[i]);
      const std::vector<double> a = is_grpo ? group_relative(scores) : leave_one_out(scores);
      for (std::size_t k = 0; k < members.size(); ++k)
        e.advantages[members[k]].assign(rewards[members[k]].size(), a[k]);
    }
  }
  if (config.advantage != "grpo") whiten(e.advantages);
  return e;
}

std::vector<double> divergence_weights(const Rollouts& r, const std::vector<std::size_t>& batch,
                                       const PpoConfig& config) {
  double tokens[2] = {0, 0};  // of red-team prompts, of the others
  for (std::size_t i : batch)
    tokens[r.is_harmless[i]] += static_cast<double>(r.rollouts[i].log_probabilities.size());
  std::vector<double> weights;
  for (std::size_t i : batch) {
    // What checks ask for changes answers to harmless requests too: the checked part is not held.
    const double held = r.checked.empty() ? 1 : 1 - r.checked[i];
    const double weight =
        held * (r.is_harmless[i] ? config.harmless_divergence_weight : config.divergence_weight);
    weights.push_back(weight /
                      (config.divergence_mean == "kind" ? tokens[r.is_harmless[i]] : tokens[0] + tokens[1]));
  }
  return weights;
}

void Losses::add(const Losses& step) {
  policy += step.policy, value += step.value, divergence += step.divergence, clipped += step.clipped,
      value_clipped += step.value_clipped;
  approximate_kl = step.approximate_kl, norm = step.norm, value_norm = step.value_norm;
  first_log_ratio = std::max(first_log_ratio, step.first_log_ratio);
  reward_share = std::max(reward_share, step.reward_share);
  ++steps;
}

namespace {

// Mean share of each principle's rules that hold, over the answers that it applies to.
void add_followed(Json& figures, const Rollouts& r) {
  std::map<std::string, std::pair<double, double>> sums;
  double score = 0, n = 0;
  for (const Followed& one : r.followed) {
    if (one.by_principle.empty()) continue;
    score += one.score;
    ++n;
    for (const auto& [principle, share] : one.by_principle) {
      sums[principle].first += share;
      ++sums[principle].second;
    }
  }
  if (n == 0) return;
  figures["followed"] = score / n;
  for (const auto& [principle, sum] : sums)
    figures["followed_by_principle"][principle] = sum.first / sum.second;
}

}  // namespace

Json update_figures(const Rollouts& r, const Estimates& e, const Losses& losses, const PpoConfig& config) {
  double clipped_scores = 0, finished = 0, kl3 = 0, sampler_k3 = 0;
  std::vector<double> lengths, sequence_kl;
  for (std::size_t i = 0; i < r.rollouts.size(); ++i) {
    const Rollout& one = r.rollouts[i];
    clipped_scores += std::abs(r.raw_scores[i]) > config.reward_clip;
    finished += one.is_finished;
    lengths.push_back(static_cast<double>(one.log_probabilities.size()));
    double kl = 0;
    for (std::size_t t = 0; t < one.log_probabilities.size(); ++t) {
      kl += one.log_probabilities[t] - one.reference[t];
      kl3 += k3(one.log_probabilities[t] - one.reference[t]) / r.tokens;
      if (config.temperature == 1) sampler_k3 += k3(r.sampler[i][t] - one.log_probabilities[t]) / r.tokens;
    }
    sequence_kl.push_back(kl);
  }
  const double n = static_cast<double>(losses.steps);
  const Moments kl = moments(sequence_kl), scores = moments(r.raw_scores), length = moments(lengths),
                total = moments(e.totals);
  Json figures = {{"score", scores.mean},
                  {"score_std", scores.std},
                  {"reward", total.mean},
                  {"kl", kl.mean},
                  {"kl_k3", kl3},
                  {"sampler_k3", sampler_k3},
                  {"entropy", r.entropy / r.tokens},
                  {"policy_loss", losses.policy / n},
                  {"approximate_kl", losses.approximate_kl},
                  {"clip_share", losses.clipped / n},
                  {"first_log_ratio", losses.first_log_ratio},
                  {"gradient_norm", losses.norm},
                  {"tokens", r.tokens},
                  {"length", length.mean},
                  {"length_slope", slope(lengths, r.raw_scores)},
                  {"stop_rate", finished / static_cast<double>(r.rollouts.size())},
                  {"scores_clipped", clipped_scores},
                  {"distinct_2", distinct_pairs(r)},
                  {"common_opening", common_opening(r)},
                  {"optimiser_steps", losses.steps}};
  add_followed(figures, r);
  if (!r.reference.empty()) figures["divergence"] = losses.divergence / n;
  if (losses.reward_share >= 0) figures["reward_share"] = losses.reward_share;
  if (config.advantage == "gae")
    figures.update({{"value_loss", losses.value / n},
                    {"explained_variance", e.explained_variance},
                    {"value_clip_share", losses.value_clipped / n},
                    {"value_gradient_norm", losses.value_norm}});
  return figures;
}

Json run_figures(const std::vector<Json>& updates, const PpoConfig& config) {
  Json figures = Json::object();
  if (updates.empty()) return figures;
  const auto mean_of = [&](std::size_t from, std::size_t to, const char* name) {
    double sum = 0;
    for (std::size_t i = from; i < to; ++i)
      sum += updates[i].at(name).get<double>() / static_cast<double>(to - from);
    return sum;
  };
  const std::size_t third = std::max<std::size_t>(1, updates.size() / 3);
  for (const char* name : {"score", "followed", "kl", "entropy", "length", "stop_rate", "explained_variance"})
    if (updates.front().contains(name))
      figures[name] = {{"first_third", mean_of(0, third, name)},
                       {"last_third", mean_of(updates.size() - third, updates.size(), name)}};
  figures["optimiser_steps"] = {{"mean", mean_of(0, updates.size(), "optimiser_steps")},
                                {"most", config.epochs * config.minibatches}};
  if (updates.back().contains("reward_share")) figures["reward_share"] = updates.back()["reward_share"];
  return figures;
}

}  // namespace cai
