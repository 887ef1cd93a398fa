#include "cai/base/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"

namespace cai {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kZ = 1.959963984540054;  // 97.5 % quantile of the normal distribution

double normal_share(double z) {
  return std::erfc(-z / std::sqrt(2.0)) / 2;
}

// Its inverse, by halving.
double normal_quantile(double share) {
  double low = -40, high = 40;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (normal_share(middle) < share ? low : high) = middle;
  }
  return (low + high) / 2;
}

Interval wilson_of(double p, double m) {
  const double centre = (p + kZ * kZ / (2 * m)) / (1 + kZ * kZ / m);
  const double half = kZ / (1 + kZ * kZ / m) * std::sqrt(p * (1 - p) / m + kZ * kZ / (4 * m * m));
  // Rounding must not cut off the ends that are exact.
  return {p, p > 0 ? std::max(0.0, centre - half) : 0, p < 1 ? std::min(1.0, centre + half) : 1,
          std::lround(m)};
}

// Variance of a ratio sum(y) / sum(n) with clusters, from the sum over clusters of (y - n ratio)^2.
double cluster_variance(double squares, double clusters, double n) {
  return clusters / (clusters - 1) * squares / (n * n);
}

// How many independent items say as much.
double effective_number(double n, double clusters, double variance, double independent) {
  if (!(independent > 0) || clusters < 2) return clusters;
  return n / std::max(1.0, variance / independent);
}

// Tango's score of the hypothesis that the difference is `d`; falls with d.
double tango_score(double gained, double lost, double n, double d) {
  const double a = 2 * n, b = -gained - lost + (2 * n - gained + lost) * d, c = -lost * d * (1 - d);
  const double q =
      (std::sqrt(std::max(0.0, b * b - 4 * a * c)) - b) / (2 * a);  // likeliest share of pairs that were lost
  const double variance = n * (2 * q + d * (1 - d)), over = gained - lost - n * d;
  if (variance > 0) return over / std::sqrt(variance);
  return over > 0 ? kInfinity : over < 0 ? -kInfinity : 0;
}

// Where the score falls below `bound`.
double tango_limit(double gained, double lost, double n, double bound) {
  double low = -1, high = 1;
  for (int i = 0; i < 80; ++i) {
    const double middle = (low + high) / 2;
    (tango_score(gained, lost, n, middle) > bound ? low : high) = middle;
  }
  return (low + high) / 2;
}

std::vector<double> resampled_means(std::span<const double> values, long samples, std::uint64_t seed) {
  std::vector<double> means(static_cast<std::size_t>(std::max(1L, samples)));
  Random random = Random(seed).derive("bootstrap");
  for (double& mean : means) {
    for (std::size_t i = 0; i < values.size(); ++i)
      mean += values[random.below(values.size())];
    mean /= static_cast<double>(values.size());
  }
  std::sort(means.begin(), means.end());
  return means;
}

double quantile(const std::vector<double>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const std::size_t below = static_cast<std::size_t>(at), above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

// P(gained - lost = 2 k - n) of n changes that fall either way alike, by k.
std::vector<double> binomial(long n) {
  std::vector<double> p;
  for (long k = 0; k <= n; ++k)
    p.push_back(std::exp(std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0) -
                         static_cast<double>(n) * std::log(2.0)));
  return p;
}

}  // namespace

bool Interval::is_known() const {
  return std::isfinite(low) && std::isfinite(high);
}

Interval wilson(long successes, long n) {
  if (n <= 0) return {0, 0, 1, 0};
  return wilson_of(static_cast<double>(successes) / static_cast<double>(n), static_cast<double>(n));
}

void ClusteredShare::add(const std::string& prompt, bool yes) {
  Count& count = by_prompt_[prompt];
  count.yes += yes;
  count.n += 1;
}

Interval ClusteredShare::interval() const {
  double yes = 0, n = 0, squares = 0;
  const double clusters = static_cast<double>(by_prompt_.size());
  for (const auto& [prompt, count] : by_prompt_) {
    yes += count.yes;
    n += count.n;
  }
  if (n == 0) return wilson(0, 0);
  const double p = yes / n;
  for (const auto& [prompt, count] : by_prompt_)
    squares += (count.yes - count.n * p) * (count.yes - count.n * p);
  Interval interval =
      wilson_of(p, effective_number(n, clusters, cluster_variance(squares, clusters, n), p * (1 - p) / n));
  interval.n = std::lround(n);
  interval.prompts = std::lround(clusters);
  return interval;
}

Interval paired_difference(double gained, double lost, double n) {
  if (n <= 0) return {0, -1, 1, 0};
  return {(gained - lost) / n, tango_limit(gained, lost, n, kZ), tango_limit(gained, lost, n, -kZ),
          std::lround(n)};
}

void ClusteredDifference::add(const std::string& prompt, bool now, bool before) {
  Count& count = by_prompt_[prompt];
  count.gained += now && !before;
  count.lost += before && !now;
  count.n += 1;
}

Interval ClusteredDifference::interval() const {
  double gained = 0, lost = 0, n = 0, squares = 0;
  const double clusters = static_cast<double>(by_prompt_.size());
  for (const auto& [prompt, count] : by_prompt_) {
    gained += count.gained;
    lost += count.lost;
    n += count.n;
  }
  if (n == 0) return paired_difference(0, 0, 0);
  const double d = (gained - lost) / n;
  for (const auto& [prompt, count] : by_prompt_) {
    const double over = count.gained - count.lost - count.n * d;
    squares += over * over;
  }
  const double independent = ((gained + lost) / n - d * d) / n;
  const double share = effective_number(n, clusters, cluster_variance(squares, clusters, n), independent) / n;
  Interval interval = paired_difference(gained * share, lost * share, n * share);
  interval.n = std::lround(n);
  interval.prompts = std::lround(clusters);
  return interval;
}

Interval as_win_rate(const Interval& d) {
  return {(1 + d.value) / 2, (1 + d.low) / 2, (1 + d.high) / 2, d.n, d.prompts};
}

Interval mean_of_independent(std::span<const Interval> independent) {
  Interval mean;
  const double groups = static_cast<double>(independent.size());
  double below = 0, above = 0;
  for (const Interval& one : independent) {
    mean.value += one.value / groups;
    mean.n += one.n;
    below += (one.value - one.low) * (one.value - one.low);
    above += (one.high - one.value) * (one.high - one.value);
  }
  mean.low = mean.value - std::sqrt(below) / groups;
  mean.high = mean.value + std::sqrt(above) / groups;
  return mean;
}

Interval bootstrap_mean(std::span<const double> values, long samples, std::uint64_t seed) {
  const double n = static_cast<double>(values.size());
  double mean = 0, squares = 0, cubes = 0;
  for (const double v : values)
    mean += v / n;
  const bool all_equal =
      std::all_of(values.begin(), values.end(), [&](double v) { return v == values.front(); });
  if (all_equal)
    return {values.empty() ? 0 : values.front(), -kInfinity, kInfinity, static_cast<long>(values.size())};
  for (const double v : values) {
    squares += (v - mean) * (v - mean);
    cubes += (v - mean) * (v - mean) * (v - mean);
  }
  const std::vector<double> means = resampled_means(values, samples, seed);
  const auto [first, last] = std::equal_range(means.begin(), means.end(), mean);
  const double below =
      static_cast<double>((first - means.begin()) + (last - means.begin())) / 2;  // a tie counts half
  const double bias = normal_quantile(std::clamp(below / static_cast<double>(means.size()), 1e-6, 1 - 1e-6));
  const double acceleration = cubes / (6 * std::pow(squares, 1.5));  // of the jackknife's means
  const auto limit = [&](double z) {
    return quantile(means, normal_share(bias + (bias + z) / (1 - acceleration * (bias + z))));
  };
  return {mean, limit(-kZ), limit(kZ), static_cast<long>(values.size())};
}

Interval bootstrap_difference(std::span<const double> a, std::span<const double> b, long samples,
                              std::uint64_t seed) {
  if (a.size() != b.size())
    throw Bug("paired difference of " + std::to_string(a.size()) + " and " + std::to_string(b.size()) +
              " values");
  std::vector<double> difference(a.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    difference[i] = a[i] - b[i];
  return bootstrap_mean(difference, samples, seed);
}

double mcnemar(std::span<const Changes> groups) {
  // The distribution of the sum over groups, one group at a time.
  std::vector<std::pair<double, double>> sums = {{0, 1}};  // sum, probability
  double seen = 0;
  for (const Changes& group : groups) {
    const long changed = group.gained + group.lost;
    if (changed == 0) continue;
    seen += static_cast<double>(group.gained - group.lost) / static_cast<double>(group.n);
    const std::vector<double> p = binomial(changed);
    std::vector<std::pair<double, double>> next;
    for (const auto& [sum, before] : sums)
      for (long k = 0; k <= changed; ++k)
        next.emplace_back(sum + static_cast<double>(2 * k - changed) / static_cast<double>(group.n),
                          before * p[static_cast<std::size_t>(k)]);
    sums = std::move(next);
  }
  double tail = 0;
  for (const auto& [sum, p] : sums)
    if (std::abs(sum) >= std::abs(seen) - 1e-9) tail += p;
  return std::min(1.0, tail);
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double least = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    least = std::max(least, std::min(1.0, p[order[rank]] * static_cast<double>(p.size() - rank)));
    adjusted[order[rank]] = least;
  }
  return adjusted;
}

double pearson(std::span<const double> x, std::span<const double> y) {
  if (x.size() != y.size() || x.empty()) return 0;
  const double n = static_cast<double>(x.size());
  double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    mx += x[i] / n, my += y[i] / n;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mx) * (x[i] - mx);
    yy += (y[i] - my) * (y[i] - my);
    xy += (x[i] - mx) * (y[i] - my);
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
}

std::optional<double> kappa(std::span<const int> a, std::span<const int> b) {
  constexpr std::size_t kFewest = 30;
  if (a.size() != b.size())
    throw Bug("kappa of " + std::to_string(a.size()) + " and " + std::to_string(b.size()) + " verdicts");
  if (a.size() < kFewest) return std::nullopt;
  const double n = static_cast<double>(a.size());
  double agree = 0, yes_a = 0, yes_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    agree += (a[i] != 0) == (b[i] != 0);
    yes_a += a[i] != 0;
    yes_b += b[i] != 0;
  }
  const double chance = (yes_a * yes_b + (n - yes_a) * (n - yes_b)) / (n * n);
  if (yes_a == 0 || yes_a == n || yes_b == 0 || yes_b == n) return std::nullopt;
  return (agree / n - chance) / (1 - chance);
}

Interval prediction_powered_mean(std::span<const double> outcome, std::span<const double> predicted_known,
                                 std::span<const double> predicted) {
  if (outcome.size() != predicted_known.size())
    throw Bug("outcomes of " + std::to_string(outcome.size()) + " items, predictions of " +
              std::to_string(predicted_known.size()));
  const double n = static_cast<double>(outcome.size()), m = static_cast<double>(predicted.size());
  if (outcome.size() < 2)
    return {0, -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity(),
            static_cast<long>(outcome.size())};
  const auto mean = [](std::span<const double> x) {
    return std::accumulate(x.begin(), x.end(), 0.0) / std::max(1.0, static_cast<double>(x.size()));
  };
  const double y = mean(outcome), f = mean(predicted_known), g = mean(predicted);
  double yy = 0, ff = 0, yf = 0, gg = 0;  // sums of squares and products about the means
  for (std::size_t i = 0; i < outcome.size(); ++i) {
    const double dy = outcome[i] - y, df = predicted_known[i] - f;
    yy += dy * dy, ff += df * df, yf += dy * df;
  }
  for (const double p : predicted)
    gg += (p - g) * (p - g);
  // Variance of the predictions from all items; weight that minimises the variance of the estimate.
  const double variance = (ff + gg) / std::max(1.0, n + m - 2);
  const double lambda =
      m > 1 && variance > 0 ? std::clamp(yf / (n - 1) / (variance * (1 + n / m)), 0.0, 1.0) : 0;
  const double value = y + lambda * (g - f);
  const double residual = (yy - 2 * lambda * yf + lambda * lambda * ff) / (n - 1);
  const double half =
      1.959963984540054 * std::sqrt(residual / n + (m > 1 ? lambda * lambda * gg / (m - 1) / m : 0));
  return {value, value - half, value + half, static_cast<long>(outcome.size())};
}

double calibration_error(std::span<const double> predicted, std::span<const double> outcome) {
  if (predicted.size() != outcome.size() || predicted.empty()) return 0;
  double count[10] = {}, p[10] = {}, o[10] = {};
  for (std::size_t i = 0; i < predicted.size(); ++i) {
    const int bin = std::clamp(static_cast<int>(predicted[i] * 10), 0, 9);
    count[bin] += 1, p[bin] += predicted[i], o[bin] += outcome[i];
  }
  double error = 0;
  for (int bin = 0; bin < 10; ++bin)
    error += std::abs(p[bin] - o[bin]) / static_cast<double>(predicted.size());
  return error;
}

}  // namespace cai
