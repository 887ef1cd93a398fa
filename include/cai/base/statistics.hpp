// Intervals and agreement measures. Plain doubles; no state.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cai {

struct Interval {
  double value = 0, low = 0, high = 0;
  long n = 0;
};

/// Wilson score interval of a proportion, 95 % (Wilson 1927). n = 0: value 0, interval [0, 1].
Interval wilson(long successes, long n);

/// Mean with a percentile bootstrap interval, resampling whole items (prompts), 95 %. Seeded: same input, same result.
Interval bootstrap_mean(std::span<const double> values, long samples, std::uint64_t seed);

/// Mean of the groups' means, each group resampled by itself: what a balanced accuracy needs. No group may be empty; n counts all values.
Interval bootstrap_balanced(std::span<const std::vector<double>> groups, long samples, std::uint64_t seed);

/// Mean of paired differences a[i] - b[i] with its bootstrap interval.
Interval bootstrap_difference(std::span<const double> a, std::span<const double> b, long samples, std::uint64_t seed);

/// Exact two-sided McNemar test on discordant counts. Returns the p-value.
double mcnemar(long only_first, long only_second);

double pearson(std::span<const double> x, std::span<const double> y);   // 0 when either is constant

/// Cohen's kappa of two yes/no raters.
double kappa(std::span<const int> a, std::span<const int> b);

/// Mean of an outcome that is known for few items and predicted for many (prediction-powered inference, Angelopoulos et al. 2023; the
/// predictions' part is weighted for the least variance, Angelopoulos, Duchi and Zrnic 2023, clipped to 0..1). `outcome` and `predicted_known` belong to the same items,
/// `predicted` to others. Normal 95 % interval; with fewer than two known items nothing is known: value 0, interval [-inf, inf].
Interval prediction_powered_mean(std::span<const double> outcome, std::span<const double> predicted_known, std::span<const double> predicted);

/// Expected calibration error over 10 equal bins of predicted probability against outcomes in [0, 1].
double calibration_error(std::span<const double> predicted, std::span<const double> outcome);

}  // namespace cai
