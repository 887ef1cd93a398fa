#include "cai/train/guards.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numbers>

#include "cai/base/random.hpp"

namespace cai {
namespace {

// An update of a run that does what it should: the score and the KL rise, answers get shorter, entropy falls
// by a quarter; with the noise that 16 answers an update have.
Json healthy(int update, int updates, Random& random) {
  const double done = static_cast<double>(update) / updates;
  const auto noisy = [&](double mean, double spread) {
    const double normal =
        std::sqrt(-2 * std::log(1 - random.uniform())) * std::cos(2 * std::numbers::pi * random.uniform());
    return mean + spread * normal;
  };
  const auto share = [](double x) { return std::min(1.0, std::max(0.0, x)); };
  return {{"update", update},
          {"kl", noisy(2.5 * done, 0.15)},
          {"entropy", noisy(2.0 - 0.5 * done, 0.12)},
          {"stop_rate", share(noisy(0.6 + 0.2 * done, 0.12))},
          {"common_opening", share(noisy(0.15 + 0.3 * done, 0.08))},
          {"distinct_2", share(noisy(0.8 - 0.15 * done, 0.05))},
          {"length", noisy(40 - 15 * done, 4)},
          {"length_slope", noisy(0.01, 0.01)},
          {"score", noisy(0.5 * done, 0.25)},
          {"score_std", std::abs(noisy(1, 0.15))},
          {"clip_share", share(noisy(0.15, 0.06))},
          {"value_loss", std::abs(noisy(0.3 - 0.15 * done, 0.06))},
          {"explained_variance", noisy(0.3 * done - 0.1, 0.25)}};
}

// A problem's line, and after how many updates of the pathology it was told; 20 is the promise.
struct Told {
  std::string line;
  int after = 0;
};

Told told(const std::function<void(Json& update, double done)>& pathology, std::uint64_t seed) {
  constexpr int kHealthy = 6, kSick = 20;
  Random random = Random(seed);
  std::vector<Json> updates;
  for (int i = 0; i < kHealthy + kSick; ++i) {
    updates.push_back(healthy(std::min(i, kHealthy), 60, random));
    if (i >= kHealthy) pathology(updates.back(), static_cast<double>(i - kHealthy + 1) / kSick);
    if (const std::string line = training_problem(updates, PpoConfig{}); !line.empty())
      return {line, i - kHealthy + 1};
  }
  return {};
}

TEST(Guards, AreSilentInHealthyRuns) {
  int alarms = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Random random = Random(seed);
    std::vector<Json> updates;
    for (int i = 1; i <= 40; ++i) {
      updates.push_back(healthy(i, 40, random));
      const std::string line = training_problem(updates, PpoConfig{});
      if (!line.empty()) {
        ADD_FAILURE() << "seed " << seed << ", update " << i << ": " << line;
        ++alarms;
        break;
      }
    }
  }
  EXPECT_EQ(alarms, 0);
}

TEST(Guards, TellEachPathologyWithinTwentyUpdates) {
  struct Case {
    const char* name;
    std::function<void(Json&, double)> pathology;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {"a loss that is not finite", [](Json& u, double) { u["policy_loss"] = NAN; }, "not finite"},
      {"a figure that JSON could not hold", [](Json& u, double) { u["entropy"] = nullptr; }, "not finite"},
      {"KL explodes", [](Json& u, double done) { u["kl"] = 40 * done; }, "ppo.max_kl"},
      {"the scorer is not the sampler", [](Json& u, double) { u["kl"] = -2.0; }, "sampler and scorer differ"},
      {"steps are too large", [](Json& u, double done) { u["clip_share"] = 0.4 + 0.5 * done; },
       "ppo.learning_rate"},
      {"entropy collapses", [](Json& u, double done) { u["entropy"] = 2.0 * (1 - 0.9 * done); },
       "the entropy fell"},
      {"one opening for everything", [](Json& u, double done) { u["common_opening"] = 0.15 + 0.85 * done; },
       "begin alike"},
      {"answers repeat", [](Json& u, double done) { u["distinct_2"] = 0.8 * (1 - 0.9 * done); }, "repeat"},
      {"answers never end", [](Json& u, double done) { u["stop_rate"] = 0.6 * (1 - done); }, "no longer end"},
      {"the reward is paid for length",
       [](Json& u, double done) {
         u["length"] = 40 + 60 * done, u["length_slope"] = 0.02, u["score"] = 1.2 * done;
       },
       "paid for length"},
      {"answers grow for nothing",
       [](Json& u, double done) {
         u["length"] = 40 + 60 * done;
         u["score"] = 0.0;
       },
       "paid for length"},
      {"answers shrink to nothing", [](Json& u, double done) { u["length"] = 40 - 39 * done; },
       "next to nothing"},
      {"the value model explains nothing", [](Json& u, double) { u["explained_variance"] = -3.0; },
       "value model"},
      {"the value model diverges", [](Json& u, double done) { u["value_loss"] = 0.3 * std::exp(6 * done); },
       "value model"},
  };
  for (const Case& one : cases) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const Told found = told(one.pathology, seed);
      EXPECT_NE(found.line.find(one.expected), std::string::npos)
          << one.name << ", seed " << seed << ": \"" << found.line << "\"";
      EXPECT_GE(found.after, 1) << one.name << ": told before it began";
    }
  }
}

TEST(Guards, LongerAnswersThatAreBetterAreNoProblem) {
  Random random = Random(1);
  std::vector<Json> updates;
  for (int i = 1; i <= 40; ++i) {
    updates.push_back(healthy(i, 40, random));
    updates.back()["length"] = 40 + i;
    updates.back()["score"] = 0.05 * i;
    EXPECT_EQ(training_problem(updates, PpoConfig{}), "") << i;
  }
}

TEST(Guards, OneOddUpdateIsNoProblem) {
  Random random = Random(2);
  std::vector<Json> updates;
  for (int i = 1; i <= 30; ++i) {
    updates.push_back(healthy(i, 30, random));
    if (i % 5 == 0)
      updates.back().update({{"entropy", 0.3},
                             {"stop_rate", 0.0},
                             {"common_opening", 1.0},
                             {"distinct_2", 0.1},
                             {"explained_variance", -5.0},
                             {"clip_share", 0.9}});
    EXPECT_EQ(training_problem(updates, PpoConfig{}), "") << i;
  }
}

}  // namespace
}  // namespace cai
