#include "cai/base/logistic.hpp"

#include <algorithm>
#include <cmath>
#include <deque>

#include "cai/base/error.hpp"

namespace cai {
namespace {

constexpr std::size_t kPairs = 10;
constexpr int kMostSteps = 2000;
constexpr double kTolerance = 1e-7;

// Eight sums side by side: the order of addition is fixed, and the compiler may use vectors.
template <class X>
double dot(const X* x, const double* y, std::size_t n) {
  double sums[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (std::size_t k = 0; k < 8; ++k)
      sums[k] += static_cast<double>(x[i + k]) * y[i + k];
  double sum = 0;
  for (; i < n; ++i)
    sum += static_cast<double>(x[i]) * y[i];
  for (const double part : sums)
    sum += part;
  return sum;
}

// The penalised loss over parameters [weights, bias].
struct Loss {
  const LogisticData& data;
  double c;
  std::size_t examples;

  double weight(std::size_t i) const { return data.weights.empty() ? 1 : data.weights[i]; }

  double at(const std::vector<double>& p, std::vector<double>& gradient) const {
    const std::size_t width = data.width;
    double loss = 0;
    std::fill(gradient.begin(), gradient.end(), 0.0);
    for (std::size_t i = 0; i < examples; ++i) {
      const float* const x = data.x.data() + i * width;
      const double f = dot(x, p.data(), width) + p[width], signed_f = data.y[i] ? f : -f;
      // log(1 + exp(-f)) without overflow, and its derivative.
      loss += weight(i) *
              (signed_f > 0 ? std::log1p(std::exp(-signed_f)) : std::log1p(std::exp(signed_f)) - signed_f);
      const double slope = c * weight(i) * (1 / (1 + std::exp(-f)) - data.y[i]);
      for (std::size_t k = 0; k < width; ++k)
        gradient[k] += slope * static_cast<double>(x[k]);
      gradient[width] += slope;
    }
    for (std::size_t k = 0; k < width; ++k)
      gradient[k] += p[k];
    return c * loss + dot(p.data(), p.data(), width) / 2;
  }
};

struct Pair {
  std::vector<double> moved, turned;  // differences of parameters and of gradients
  double inverse = 0;                 // 1 / (moved . turned)
};

// The two-loop recursion: minus the inverse Hessian's estimate times the gradient.
std::vector<double> direction(const std::deque<Pair>& pairs, const std::vector<double>& gradient) {
  std::vector<double> q = gradient, alpha(pairs.size());
  for (std::size_t i = pairs.size(); i-- > 0;) {
    alpha[i] = pairs[i].inverse * dot(pairs[i].moved.data(), q.data(), q.size());
    for (std::size_t k = 0; k < q.size(); ++k)
      q[k] -= alpha[i] * pairs[i].turned[k];
  }
  if (!pairs.empty()) {
    const Pair& last = pairs.back();
    const double scale = 1 / (last.inverse * dot(last.turned.data(), last.turned.data(), q.size()));
    for (double& one : q)
      one *= scale;
  }
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const double beta = pairs[i].inverse * dot(pairs[i].turned.data(), q.data(), q.size());
    for (std::size_t k = 0; k < q.size(); ++k)
      q[k] += (alpha[i] - beta) * pairs[i].moved[k];
  }
  for (double& one : q)
    one = -one;
  return q;
}

double largest(const std::vector<double>& x) {
  double most = 0;
  for (const double one : x)
    most = std::max(most, std::abs(one));
  return most;
}

void check(const LogisticData& data, std::size_t n) {
  const bool fits =
      data.width > 0 && data.x.size() == n * data.width && (data.weights.empty() || data.weights.size() == n);
  const bool has_both = std::find(data.y.begin(), data.y.end(), 0) != data.y.end() &&
                        std::find(data.y.begin(), data.y.end(), 1) != data.y.end();
  if (!fits || !has_both) throw Bug("fit_logistic: sizes that differ, or one class only");
}

}  // namespace

double LogisticFit::score(std::span<const float> x) const {
  return dot(x.data(), weights.data(), weights.size()) + bias;
}

LogisticFit fit_logistic(const LogisticData& data, double c) {
  const std::size_t n = data.y.size(), size = data.width + 1;
  check(data, n);
  const Loss loss{data, c, n};
  double total = 0;
  for (std::size_t i = 0; i < n; ++i)
    total += loss.weight(i);
  std::vector<double> at(size), gradient(size), next(size), next_gradient(size);
  std::deque<Pair> pairs;
  double value = loss.at(at, gradient);
  LogisticFit fit;
  while (!(fit.converged = largest(gradient) <= kTolerance * c * total) && fit.steps < kMostSteps) {
    std::vector<double> towards = direction(pairs, gradient);
    double slope = dot(towards.data(), gradient.data(), size);
    if (!(slope < 0)) break;  // no descent is left in doubles
    double step = pairs.empty() ? 1 / std::max(1.0, largest(gradient)) : 1, reached = value;
    for (int halved = 0; halved < 60; ++halved, step /= 2) {
      for (std::size_t k = 0; k < size; ++k)
        next[k] = at[k] + step * towards[k];
      reached = loss.at(next, next_gradient);
      if (reached <= value + 1e-4 * step * slope) break;
    }
    if (!(reached < value)) break;
    Pair pair{std::vector<double>(size), std::vector<double>(size)};
    for (std::size_t k = 0; k < size; ++k)
      pair.moved[k] = next[k] - at[k], pair.turned[k] = next_gradient[k] - gradient[k];
    const double curvature = dot(pair.moved.data(), pair.turned.data(), size);
    at.swap(next), gradient.swap(next_gradient), value = reached;
    ++fit.steps;
    if (!(curvature > 0)) continue;
    pair.inverse = 1 / curvature;
    pairs.push_back(std::move(pair));
    if (pairs.size() > kPairs) pairs.pop_front();
  }
  fit.weights.assign(at.begin(), at.end() - 1);
  fit.bias = at.back();
  return fit;
}

}  // namespace cai
