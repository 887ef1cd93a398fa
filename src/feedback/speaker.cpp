#include "cai/feedback/speaker.hpp"

#include <algorithm>
#include <cmath>

namespace cai {

std::vector<Chosen> Speaker::decide(std::span<const Choice> choices, const std::function<void()>& decided) {
  std::vector<Chosen> decisions;
  for (std::vector<double>& logs : choose(choices)) {
    Chosen decision{.log_probabilities = std::move(logs)};
    for (const double x : decision.log_probabilities)
      decision.mass += std::exp(x);
    decision.mass = std::min(decision.mass, 1.0);
    if (decision.log_probabilities.empty())
      decision.problem = "no answer: the question is longer than the model's context";
    if (decided) decided();
    decisions.push_back(std::move(decision));
  }
  return decisions;
}

}  // namespace cai
