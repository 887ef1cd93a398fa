#include "cai/engine/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "cai/engine/kernels.hpp"

namespace cai {
namespace {

// Zeroes the probabilities outside the nucleus.
void keep_nucleus(std::vector<float>& probabilities, double total, double top_p) {
  std::vector<int> order;
  // Tokens below this hold less than 1 - top_p together, so the nucleus lies among the others: few to sort.
  const double floor = (1.0 - top_p) * total / static_cast<double>(probabilities.size());
  for (std::size_t i = 0; i < probabilities.size(); ++i)
    if (probabilities[i] >= floor) order.push_back(static_cast<int>(i));
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return probabilities[a] > probabilities[b]; });
  std::vector<float> kept(probabilities.size(), 0.0f);
  double sum = 0;
  for (int i : order) {
    kept[static_cast<std::size_t>(i)] = probabilities[static_cast<std::size_t>(i)];
    sum += probabilities[static_cast<std::size_t>(i)];
    if (sum >= top_p * total) break;
  }
  probabilities.swap(kept);
}

}  // namespace

Sampled sample(std::span<const float> logits, double temperature, double top_p, Random& random) {
  const std::int64_t n = static_cast<std::int64_t>(logits.size());
  const float highest = largest(logits.data(), n);
  const auto likeliest = [&] {
    const auto found = std::find(logits.begin(), logits.end(), highest);
    return found == logits.end()
               ? 0
               : static_cast<std::size_t>(found - logits.begin());  // 0: no logit is a number
  };
  if (!(temperature > 0)) {
    const std::size_t token = likeliest();
    return {static_cast<int>(token), static_cast<float>(logits[token] - log_sum_exp(logits.data(), n))};
  }
  thread_local std::vector<float> probabilities;  // not normalised
  thread_local std::vector<double> sums;          // of each block of them
  probabilities.resize(logits.size());
  const float scale = static_cast<float>(1.0 / temperature);
  const auto add_up = [&](const auto& sum_of) {
    sums.clear();
    double total = 0;
    for (std::int64_t i = 0; i < n; i += kSumBlock) {
      sums.push_back(sum_of(i, std::min(kSumBlock, n - i)));
      total += sums.back();
    }
    return total;
  };
  double total = add_up([&](std::int64_t i, std::int64_t m) {
    return exp_sum(logits.data() + i, m, highest, scale, probabilities.data() + i);
  });
  const double normaliser =
      scale == 1 ? static_cast<double>(highest) + std::log(total) : log_sum_exp(logits.data(), n);
  if (top_p < 1) {
    keep_nucleus(probabilities, total, top_p);
    total = add_up([&](std::int64_t i, std::int64_t m) {
      return std::accumulate(probabilities.data() + i, probabilities.data() + i + m, 0.0);
    });
  }
  // The block, then the token in it, at which the sum passes a uniform share of the whole; rounding may leave
  // the last likely one.
  double rest = random.uniform() * total;
  std::size_t block = 0;
  while (block + 1 < sums.size() && rest >= sums[block])
    rest -= sums[block++];
  std::size_t token = logits.size();
  for (std::size_t i = block * static_cast<std::size_t>(kSumBlock);
       i < std::min(logits.size(), (block + 1) * static_cast<std::size_t>(kSumBlock)); ++i) {
    if (probabilities[i] <= 0) continue;
    token = i;
    if ((rest -= probabilities[i]) < 0) break;
  }
  if (token == logits.size()) token = likeliest();
  return {static_cast<int>(token), static_cast<float>(logits[token] - normaliser)};
}

}  // namespace cai
