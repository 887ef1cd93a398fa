#include "cai/engine/sampling.hpp"

#include <algorithm>
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
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return probabilities[a] > probabilities[b]; });
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
  const double normaliser = log_sum_exp(logits.data(), n);
  std::size_t token = static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  if (temperature > 0) {
    thread_local std::vector<float> probabilities;
    probabilities.resize(logits.size());
    exp_shifted(logits.data(), n, logits[token], static_cast<float>(1.0 / temperature), probabilities.data());
    double total = 0;
    for (float p : probabilities) total += p;
    if (top_p < 1) {
      keep_nucleus(probabilities, total, top_p);
      total = 0;
      for (float p : probabilities) total += p;
    }
    const double target = random.uniform() * total;
    double sum = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      sum += probabilities[i];
      if (sum > target) {
        token = i;
        break;
      }
    }
  }
  return {static_cast<int>(token), static_cast<float>(logits[token] - normaliser)};
}

}  // namespace cai
