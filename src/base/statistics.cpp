#include "cai/base/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"

namespace cai {

Interval wilson(long successes, long n) {
  if (n <= 0) return {0, 0, 1, 0};
  constexpr double z = 1.959963984540054;
  const double p = static_cast<double>(successes) / static_cast<double>(n), m = static_cast<double>(n);
  const double centre = (p + z * z / (2 * m)) / (1 + z * z / m);
  const double half = z / (1 + z * z / m) * std::sqrt(p * (1 - p) / m + z * z / (4 * m * m));
  return {p, std::max(0.0, centre - half), std::min(1.0, centre + half), n};
}

Interval bootstrap_mean(std::span<const double> values, long samples, std::uint64_t seed) {
  if (values.empty()) return {};
  const std::vector<double> group(values.begin(), values.end());
  return bootstrap_balanced({&group, 1}, samples, seed);
}

Interval bootstrap_balanced(std::span<const std::vector<double>> groups, long samples, std::uint64_t seed) {
  Interval result;
  for (const std::vector<double>& group : groups) {
    if (group.empty()) throw Bug("an empty group has no mean");
    double sum = 0;
    for (double v : group) sum += v;
    result.value += sum / static_cast<double>(group.size()) / static_cast<double>(groups.size());
    result.n += static_cast<long>(group.size());
  }
  std::vector<double> means(static_cast<std::size_t>(std::max(1L, samples)));
  Random random = Random(seed).derive("bootstrap");
  for (double& mean : means) {
    for (const std::vector<double>& group : groups) {
      double total = 0;
      for (std::size_t i = 0; i < group.size(); ++i) total += group[random.below(group.size())];
      mean += total / static_cast<double>(group.size()) / static_cast<double>(groups.size());
    }
  }
  std::sort(means.begin(), means.end());
  const auto quantile = [&](double q) { return means[static_cast<std::size_t>(std::lround(q * static_cast<double>(means.size() - 1)))]; };
  result.low = quantile(0.025);
  result.high = quantile(0.975);
  return result;
}

Interval bootstrap_difference(std::span<const double> a, std::span<const double> b, long samples, std::uint64_t seed) {
  if (a.size() != b.size()) throw Bug("paired difference of " + std::to_string(a.size()) + " and " + std::to_string(b.size()) + " values");
  std::vector<double> difference(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
  return bootstrap_mean(difference, samples, seed);
}

double mcnemar(long only_first, long only_second) {
  const long n = only_first + only_second, k = std::min(only_first, only_second);
  if (n == 0) return 1;
  double tail = 0;  // P(X <= k), X ~ Binomial(n, 1/2)
  for (long i = 0; i <= k; ++i)
    tail += std::exp(std::lgamma(n + 1.0) - std::lgamma(i + 1.0) - std::lgamma(n - i + 1.0) - static_cast<double>(n) * std::log(2.0));
  return std::min(1.0, 2 * tail);
}

double pearson(std::span<const double> x, std::span<const double> y) {
  if (x.size() != y.size() || x.empty()) return 0;
  const double n = static_cast<double>(x.size());
  double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) mx += x[i] / n, my += y[i] / n;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mx) * (x[i] - mx);
    yy += (y[i] - my) * (y[i] - my);
    xy += (x[i] - mx) * (y[i] - my);
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
}

double kappa(std::span<const int> a, std::span<const int> b) {
  if (a.size() != b.size() || a.empty()) return 0;
  const double n = static_cast<double>(a.size());
  double agree = 0, yes_a = 0, yes_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    agree += (a[i] != 0) == (b[i] != 0);
    yes_a += a[i] != 0;
    yes_b += b[i] != 0;
  }
  const double chance = (yes_a * yes_b + (n - yes_a) * (n - yes_b)) / (n * n);
  return chance < 1 ? (agree / n - chance) / (1 - chance) : 1;
}

Interval prediction_powered_mean(std::span<const double> outcome, std::span<const double> predicted_known, std::span<const double> predicted) {
  if (outcome.size() != predicted_known.size()) throw Bug("outcomes of " + std::to_string(outcome.size()) + " items, predictions of " + std::to_string(predicted_known.size()));
  const double n = static_cast<double>(outcome.size()), m = static_cast<double>(predicted.size());
  if (outcome.size() < 2) return {0, -std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity(), static_cast<long>(outcome.size())};
  const auto mean = [](std::span<const double> x) { return std::accumulate(x.begin(), x.end(), 0.0) / std::max(1.0, static_cast<double>(x.size())); };
  const double y = mean(outcome), f = mean(predicted_known), g = mean(predicted);
  double yy = 0, ff = 0, yf = 0, gg = 0;  // sums of squares and products about the means
  for (std::size_t i = 0; i < outcome.size(); ++i) {
    const double dy = outcome[i] - y, df = predicted_known[i] - f;
    yy += dy * dy, ff += df * df, yf += dy * df;
  }
  for (const double p : predicted) gg += (p - g) * (p - g);
  // Variance of the predictions from all items; weight that minimises the variance of the estimate.
  const double variance = (ff + gg) / std::max(1.0, n + m - 2);
  const double lambda = m > 1 && variance > 0 ? std::clamp(yf / (n - 1) / (variance * (1 + n / m)), 0.0, 1.0) : 0;
  const double value = y + lambda * (g - f);
  const double residual = (yy - 2 * lambda * yf + lambda * lambda * ff) / (n - 1);
  const double half = 1.959963984540054 * std::sqrt(residual / n + (m > 1 ? lambda * lambda * gg / (m - 1) / m : 0));
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
  for (int bin = 0; bin < 10; ++bin) error += std::abs(p[bin] - o[bin]) / static_cast<double>(predicted.size());
  return error;
}

}  // namespace cai
