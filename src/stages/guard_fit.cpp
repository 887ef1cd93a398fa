#include "cai/stages/guard_fit.hpp"

#include <algorithm>
#include <cmath>

#include "cai/base/logistic.hpp"

namespace cai {
namespace {

constexpr int kReselected = 2;
constexpr double kC = 0.003;  // docs/dev/measurements/guard.md

void add_mean(const std::vector<float>& windows, std::size_t width, std::vector<float>& to) {
  const std::size_t n = windows.size() / width;
  for (std::size_t k = 0; k < width; ++k) {
    double sum = 0;
    for (std::size_t w = 0; w < n; ++w)
      sum += static_cast<double>(windows[w * width + k]);
    to.push_back(static_cast<float>(sum / static_cast<double>(n)));
  }
}

void add_highest(const std::vector<float>& windows, std::size_t width, const GuardHead& head,
                 std::vector<float>& to) {
  std::size_t best = 0;
  double most = 0;
  for (std::size_t at = 0; at < windows.size(); at += width) {
    const double score = head.score(std::span(windows).subspan(at, width));
    if (at == 0 || score > most) most = score, best = at;
  }
  to.insert(to.end(), windows.begin() + static_cast<std::ptrdiff_t>(best),
            windows.begin() + static_cast<std::ptrdiff_t>(best + width));
}

struct Moments {
  std::vector<double> mean, deviation;  // [width]
};

Moments moments_of(const std::vector<float>& x, std::size_t width) {
  const std::size_t n = x.size() / width;
  Moments m{std::vector<double>(width), std::vector<double>(width)};
  for (std::size_t i = 0; i < x.size(); ++i)
    m.mean[i % width] += static_cast<double>(x[i]) / static_cast<double>(n);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double apart = static_cast<double>(x[i]) - m.mean[i % width];
    m.deviation[i % width] += apart * apart / static_cast<double>(n);
  }
  for (double& one : m.deviation)
    one = std::max(1e-6, std::sqrt(one));
  return m;
}

// One window an example, [examples, width]: standardised in place.
GuardHead fitted(const std::string& name, std::vector<float> x, const std::vector<int>& right,
                 std::size_t width) {
  const Moments m = moments_of(x, width);
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>((static_cast<double>(x[i]) - m.mean[i % width]) / m.deviation[i % width]);
  const LogisticFit fit = fit_logistic({x, width, right, {}}, kC);
  GuardHead head{.name = name, .bias = fit.bias};
  for (std::size_t k = 0; k < width; ++k) {
    const float weight = static_cast<float>(fit.weights[k] / m.deviation[k]);
    head.weights.push_back(weight);
    head.bias -= static_cast<double>(weight) * m.mean[k];
  }
  return head;
}

}  // namespace

GuardHead fit_head(const std::string& name, const std::vector<HeadExample>& examples, std::size_t width) {
  std::vector<int> right;
  std::vector<float> x;
  for (const HeadExample& e : examples)
    right.push_back(e.right), add_mean(*e.windows, width, x);
  GuardHead head = fitted(name, std::move(x), right, width);
  for (int round = 0; round < kReselected; ++round) {
    x.clear();
    for (const HeadExample& e : examples)
      add_highest(*e.windows, width, head, x);
    head = fitted(name, std::move(x), right, width);
  }
  return head;
}

}  // namespace cai
