// Scores made probabilities, and how well scores part two classes. Plain doubles; no state.
#pragma once

#include <span>
#include <vector>

#include "cai/base/statistics.hpp"

namespace cai {

/// A non-decreasing step function through points, straight between them, flat outside.
struct Isotonic {
  std::vector<double> x, y;  // ascending; empty: nothing was learned

  double at(double score) const;
};

/// The non-decreasing function with the least squared distance to the outcomes (pool adjacent violators);
/// equal scores count as one point with their mean. As scikit-learn's IsotonicRegression with
/// out_of_bounds="clip".
Isotonic fit_isotonic(std::span<const double> scores, std::span<const int> outcomes);

/// The area under the ROC curve: P(a positive scores above a negative), ties count half. Interval by DeLong's
/// variance on the logit scale; where all pairs are in order, by Wilson's on the smaller class. n counts both
/// classes. Without one of the classes: [0, 1], n 0.
Interval area_under_curve(std::span<const double> positives, std::span<const double> negatives);

/// The upper end of the one-sided 95 % interval of a proportion (Clopper and Pearson 1934). n = 0: 1.
double upper_bound(long successes, long n);

/// The least n for which upper_bound(0, n) is at most `share`.
long least_without_error(double share);

}  // namespace cai
