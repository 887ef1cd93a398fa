#include "cai/base/calibration.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cai/base/error.hpp"

namespace cai {
namespace {

struct Block {
  double first, last;  // scores
  double mean, weight;
};

constexpr double kZ = 1.959963984540054;

// For each of `of`, the share of `among` below it, ties half. Both sorted.
std::vector<double> shares_below(const std::vector<double>& of, const std::vector<double>& among) {
  std::vector<double> shares;
  for (const double x : of) {
    const auto low = std::lower_bound(among.begin(), among.end(), x),
               high = std::upper_bound(low, among.end(), x);
    shares.push_back((static_cast<double>(low - among.begin()) + static_cast<double>(high - low) / 2) /
                     static_cast<double>(among.size()));
  }
  return shares;
}

double mean_of(const std::vector<double>& x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

double variance_of(const std::vector<double>& x) {
  if (x.size() < 2) return 0;
  const double m = mean_of(x);
  double sum = 0;
  for (const double one : x)
    sum += (one - m) * (one - m);
  return sum / static_cast<double>(x.size() - 1);
}

}  // namespace

double Isotonic::at(double score) const {
  if (x.empty()) throw Bug("a calibration of nothing");
  const auto above = std::upper_bound(x.begin(), x.end(), score);
  if (above == x.begin()) return y.front();
  if (above == x.end()) return y.back();
  const std::size_t i = static_cast<std::size_t>(above - x.begin());
  return y[i - 1] + (y[i] - y[i - 1]) * (score - x[i - 1]) / (x[i] - x[i - 1]);
}

Isotonic fit_isotonic(std::span<const double> scores, std::span<const int> outcomes) {
  if (scores.size() != outcomes.size()) throw Bug("fit_isotonic: sizes differ");
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return scores[a] != scores[b] ? scores[a] < scores[b] : a < b;
  });
  std::vector<Block> points;  // one a distinct score
  for (const std::size_t i : order) {
    const double y = outcomes[i];
    if (!points.empty() && points.back().first == scores[i]) {
      Block& p = points.back();
      p.mean = (p.mean * p.weight + y) / (p.weight + 1), ++p.weight;
    } else {
      points.push_back({scores[i], scores[i], y, 1});
    }
  }
  std::vector<Block> blocks;
  for (Block block : points) {
    while (!blocks.empty() && blocks.back().mean >= block.mean) {
      const Block& before = blocks.back();
      const double weight = before.weight + block.weight;
      block = {before.first, block.last, (before.mean * before.weight + block.mean * block.weight) / weight,
               weight};
      blocks.pop_back();
    }
    blocks.push_back(block);
  }
  Isotonic fit;
  for (const Block& b : blocks) {
    fit.x.push_back(b.first), fit.y.push_back(b.mean);
    if (b.last > b.first) fit.x.push_back(b.last), fit.y.push_back(b.mean);
  }
  return fit;
}

Interval area_under_curve(std::span<const double> positives, std::span<const double> negatives) {
  Interval area{0, 0, 1, 0};
  if (positives.empty() || negatives.empty()) return area;
  std::vector<double> high(positives.begin(), positives.end()), low(negatives.begin(), negatives.end());
  std::sort(high.begin(), high.end()), std::sort(low.begin(), low.end());
  const std::vector<double> above = shares_below(high, low), below = shares_below(low, high);
  area.value = mean_of(above);
  area.n = static_cast<long>(high.size() + low.size());
  const double variance = variance_of(above) / static_cast<double>(high.size()) +
                          variance_of(below) / static_cast<double>(low.size());
  if (!(variance > 0) || area.value <= 0 || area.value >= 1) {
    const long n = static_cast<long>(std::min(high.size(), low.size()));
    const Interval all = wilson(std::lround(area.value * static_cast<double>(n)), n);
    area.low = all.low, area.high = all.high;
    return area;
  }
  const double logit = std::log(area.value / (1 - area.value)),
               half = kZ * std::sqrt(variance) / (area.value * (1 - area.value));
  area.low = 1 / (1 + std::exp(-(logit - half))), area.high = 1 / (1 + std::exp(-(logit + half)));
  return area;
}

namespace {

// P(at most k of n) at this share, by logarithms.
double at_most(long k, long n, double p) {
  double sum = 0;
  for (long i = 0; i <= k; ++i)
    sum += std::exp(std::lgamma(n + 1.0) - std::lgamma(i + 1.0) - std::lgamma(n - i + 1.0) +
                    static_cast<double>(i) * std::log(p) + static_cast<double>(n - i) * std::log1p(-p));
  return sum;
}

}  // namespace

double upper_bound(long successes, long n) {
  if (n == 0 || successes >= n) return 1;
  double low = static_cast<double>(successes) / static_cast<double>(n), high = 1;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (middle > 0 && at_most(successes, n, middle) > 0.05 ? low : high) = middle;
  }
  return high;
}

long least_without_error(double share) {
  return static_cast<long>(std::ceil(std::log(0.05) / std::log1p(-share) - 1e-9));
}

}  // namespace cai
