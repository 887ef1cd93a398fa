#include "cai/train/guards.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace cai {
namespace {

double number(const Json& update, const char* name) {
  const auto value = update.find(name);
  return value != update.end() && value->is_number() ? value->get<double>() : 0.0;
}

std::string text(double x) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.3g", x);
  return buffer;
}

// The figures of a run, looked at as its start and its last three updates.
struct History {
  const std::vector<Json>& updates;

  bool has(const char* name) const { return updates.back().contains(name); }
  double last(const char* name) const { return number(updates.back(), name); }

  double mean(const char* name, std::size_t from, std::size_t to) const {
    double sum = 0;
    for (std::size_t i = from; i < to; ++i)
      sum += number(updates[i], name) / static_cast<double>(to - from);
    return sum;
  }
  double start(const char* name) const { return mean(name, 0, std::min<std::size_t>(3, updates.size())); }
  double now(const char* name) const {
    return mean(name, updates.size() - std::min<std::size_t>(3, updates.size()), updates.size());
  }

  // Whether the last `n` updates all are so.
  template <class Holds>
  bool lately(std::size_t n, Holds holds) const {
    return updates.size() >= n &&
           std::all_of(updates.end() - static_cast<std::ptrdiff_t>(n), updates.end(), holds);
  }
  bool below(const char* name, double limit) const {
    return has(name) && lately(3, [&](const Json& update) { return number(update, name) < limit; });
  }
  bool above(const char* name, double limit) const {
    return has(name) && lately(3, [&](const Json& update) { return number(update, name) > limit; });
  }
  std::string from_to(const char* name) const {
    return "from " + text(start(name)) + " to " + text(now(name));
  }
};

std::string divergence(const History& h, const PpoConfig& config) {
  for (const auto& [name, value] : h.updates.back().items())
    if (value.is_null() || (value.is_number_float() && !std::isfinite(value.get<double>())))
      return name + " is not finite; try a lower ppo.learning_rate";
  const std::string kl = "the KL to the reference is " + text(h.last("kl")) + " nats a sequence";
  if (h.below("kl", -0.5))
    return kl +
           " for three updates: sampler and scorer differ; this is a defect of the program or of the model's "
           "files";
  if (h.last("kl") > config.max_kl)
    return kl + ", above ppo.max_kl " + text(config.max_kl) +
           "; try a higher ppo.kl_coefficient or a lower ppo.learning_rate";
  if (h.above("clip_share", 0.6))
    return text(100 * h.now("clip_share")) +
           " % of the probability ratios are clipped: the steps are too large; try a lower ppo.learning_rate "
           "or fewer ppo.epochs";
  return "";
}

std::string collapse(const History& h) {
  if (h.below("entropy", 0.5 * h.start("entropy")))
    return "the entropy fell " + h.from_to("entropy") +
           " nats: the policy collapses; try a higher ppo.kl_coefficient or a lower ppo.learning_rate";
  if (h.above("common_opening", std::max(0.8, h.start("common_opening") + 0.3)))
    return text(100 * h.now("common_opening")) +
           " % of the answers begin alike: the policy collapses to one opening; try a higher "
           "ppo.kl_coefficient or more prompts";
  if (h.below("distinct_2", std::min(0.2, 0.3 * h.start("distinct_2"))))
    return "the share of distinct word pairs fell " + h.from_to("distinct_2") +
           ": answers repeat themselves or each other; try a higher ppo.kl_coefficient";
  return "";
}

std::string lengths(const History& h) {
  if (h.start("stop_rate") > 0.25 && h.below("stop_rate", 0.2 * h.start("stop_rate")))
    return "answers no longer end (stop rate " + h.from_to("stop_rate") +
           "); try a higher ppo.missing_stop_penalty";
  if (h.above("length", 1.5 * h.start("length"))) {
    // What the score has gained beyond what longer answers bring by themselves: length_slope is its slope in
    // length among an update's answers.
    const double slope = std::max({0.0, h.start("length_slope"), h.now("length_slope")});
    const double rise = h.now("score") - h.start("score"),
                 gained = rise - slope * (h.now("length") - h.start("length"));
    if (gained < std::max(0.1 * h.start("score_std"), 0.5 * rise))
      return "answers grew " + h.from_to("length") + " tokens, and of the score's " + text(rise) + " only " +
             text(gained) +
             " came without that: the reward is paid for length; try a higher ppo.kl_coefficient, or labels "
             "whose better answer is not the longer one";
  }
  if (h.start("length") > 5 && h.below("length", 0.2 * h.start("length")))
    return "answers shrank " + h.from_to("length") +
           " tokens: the policy says next to nothing; try a higher ppo.kl_coefficient or a lower "
           "ppo.missing_stop_penalty";
  return "";
}

std::string value_model(const History& h) {
  const char* help = "); try a longer ppo.critic_warmup or a lower ppo.value_learning_rate";
  if (h.updates.size() >= 8 && h.has("explained_variance") &&
      h.lately(5, [](const Json& update) { return number(update, "explained_variance") < -1; }))
    return "the value model explains less than nothing (explained variance " +
           text(h.last("explained_variance")) + help;
  if (h.updates.size() >= 6 && h.above("value_loss", std::max(0.5, 10 * h.start("value_loss"))))
    return "the value model diverges (loss " + h.from_to("value_loss") + help;
  return "";
}

}  // namespace

std::string training_problem(const std::vector<Json>& updates, const PpoConfig& config) {
  if (updates.empty()) return "";
  const History history{updates};
  for (const std::string& problem :
       {divergence(history, config), collapse(history), lengths(history), value_model(history)})
    if (!problem.empty()) return problem;
  return "";
}

}  // namespace cai
