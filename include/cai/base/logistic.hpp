// Logistic regression with an L2 penalty on few thousand examples. Plain doubles, one thread: the same input
// gives the same bits.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace cai {

/// Examples as rows of float32.
struct LogisticData {
  std::span<const float> x;  // [examples, width]
  std::size_t width = 0;
  std::span<const int> y;           // 0 or 1
  std::span<const double> weights;  // of the examples; empty: 1 each
};

struct LogisticFit {
  std::vector<double> weights;
  double bias = 0;
  int steps = 0;
  bool converged = false;

  double score(std::span<const float> x) const;  ///< log-odds of 1
};

/// Minimises c * sum of weight * log-loss + |weights|^2 / 2; the bias is not penalised. That is what
/// scikit-learn's LogisticRegression(C=c) minimises. By L-BFGS (Nocedal 1980, ten pairs, backtracking), until
/// no derivative exceeds 1e-7 of c times the sum of the examples' weights. Throws Bug without examples of
/// both classes or for other sizes.
LogisticFit fit_logistic(const LogisticData& data, double c);

}  // namespace cai
