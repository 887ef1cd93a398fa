// Intervals and tests against statsmodels and scipy (tests/golden/statistics.py), and what holds for all of
// them.
#include "cai/base/statistics.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cai/base/random.hpp"

namespace cai {
namespace {

using GoldenJson = nlohmann::json;

const GoldenJson& golden() {
  static const GoldenJson read =
      GoldenJson::parse(std::ifstream(CAI_SOURCE_DIR "/tests/base/golden/statistics.json"));
  return read;
}

void expect_interval(const Interval& found, const GoldenJson& expected, double tolerance) {
  EXPECT_NEAR(found.low, expected["interval"][0].get<double>(), tolerance) << expected;
  EXPECT_NEAR(found.high, expected["interval"][1].get<double>(), tolerance) << expected;
}

TEST(Golden, WilsonIsThatOfStatsmodels) {
  for (const GoldenJson& one : golden()["wilson"])
    expect_interval(wilson(one["successes"], one["n"]), one, 1e-12);
}

TEST(Golden, PairedDifferencesInvertTheScoreTest) {
  for (const GoldenJson& one : golden()["paired"])
    expect_interval(paired_difference(one["gained"], one["lost"], one["n"]), one, 1e-6);
}

TEST(Golden, ClusteredSharesHaveTheVarianceOfARegressionWithClusters) {
  for (const GoldenJson& one : golden()["clustered"]) {
    ClusteredShare share;
    for (const GoldenJson& answer : one["answers"])
      share.add(std::to_string(answer[0].get<int>()), answer[1].get<bool>());
    expect_interval(share.interval(), one, 1e-9);
  }
}

TEST(Golden, TheMeanOfTwoSharesIsNewcombes) {
  for (const GoldenJson& one : golden()["balanced"]) {
    const std::vector<Interval> both = {wilson(one["first"][0], one["first"][1]),
                                        wilson(one["second"][0], one["second"][1])};
    expect_interval(mean_of_independent(both), one, 1e-12);
  }
}

TEST(Golden, TheBootstrapIsScipysBCa) {
  for (const GoldenJson& one : golden()["bootstrap"]) {
    const std::vector<double> values = one["values"];
    const double width = one["interval"][1].get<double>() - one["interval"][0].get<double>();
    expect_interval(bootstrap_mean(values, 100'000, 1), one, 0.03 * width);  // either draws by chance
  }
}

TEST(Golden, TestsAreThoseOfStatsmodels) {
  for (const GoldenJson& one : golden()["mcnemar"]) {
    const std::vector<Changes> group = {{one["gained"], one["lost"], 100}};
    EXPECT_NEAR(mcnemar(group), one["p"].get<double>(), 1e-12) << one;
  }
  const std::vector<double> p = golden()["holm"]["p"], adjusted = holm(p);
  for (std::size_t i = 0; i < p.size(); ++i)
    EXPECT_NEAR(adjusted[i], golden()["holm"]["adjusted"][i].get<double>(), 1e-12);
  const std::vector<int> a = golden()["kappa"]["a"], b = golden()["kappa"]["b"];
  EXPECT_NEAR(kappa(a, b).value(), golden()["kappa"]["kappa"].get<double>(), 1e-12);
}

RC_GTEST_PROP(Interval, OfSharesHaveAWidthAndHoldTheValue, (std::uint8_t a, std::uint8_t b, std::uint8_t c)) {
  const long n = 1L + a + b + c;
  for (const Interval& i : {wilson(a, n), paired_difference(a, b, static_cast<double>(n)),
                            mean_of_independent(std::vector<Interval>{wilson(a, n), wilson(n, n)})}) {
    RC_ASSERT(i.high - i.low > 1e-3);
    RC_ASSERT(i.low <= i.value + 1e-12 && i.value <= i.high + 1e-12);
    RC_ASSERT(i.low >= -1 && i.high <= 1);
  }
  const Interval forth = paired_difference(a, b, static_cast<double>(n)),
                 back = paired_difference(b, a, static_cast<double>(n));
  RC_ASSERT(std::abs(forth.low + back.high) < 1e-9 && std::abs(forth.high + back.low) < 1e-9);
}

// Four answers a prompt that are always alike say as much as one answer a prompt; answers that all agree no
// more than their prompts.
TEST(Clustered, AnswersOfAPromptCountOnceWhereTheyAreAlike) {
  ClusteredShare four, all;
  ClusteredDifference changes;
  for (int prompt = 0; prompt < 60; ++prompt)
    for (int k = 0; k < 4; ++k) {
      four.add(std::to_string(prompt), prompt % 3 == 0);
      all.add(std::to_string(prompt), true);
      changes.add(std::to_string(prompt), true, prompt % 3 != 0);
    }
  const Interval one = wilson(20, 60), seen = four.interval();
  EXPECT_NEAR(seen.high - seen.low, one.high - one.low, 0.01);
  EXPECT_EQ(seen.n, 240);
  EXPECT_EQ(seen.prompts, 60);
  EXPECT_NEAR(all.interval().low, wilson(60, 60).low, 1e-12);
  const Interval change = changes.interval(), alone = paired_difference(20, 0, 60);
  EXPECT_NEAR(change.high - change.low, alone.high - alone.low, 0.01);
}

// In simulations of prompts whose answers agree with each other, 95 % intervals hold the truth about that
// often; Wilson's of all answers does not.
TEST(Clustered, IntervalsCoverTheTruth) {
  Random random(11);
  int covered = 0, naive = 0;
  constexpr int kTrials = 600;
  for (int trial = 0; trial < kTrials; ++trial) {
    ClusteredShare share;
    long yes = 0;
    for (int prompt = 0; prompt < 60; ++prompt) {
      const bool prone = random.uniform() < 0.8;
      for (int k = 0; k < 4; ++k) {
        const bool right = random.uniform() < (prone ? 0.95 : 0.05);
        share.add(std::to_string(prompt), right);
        yes += right;
      }
    }
    const double truth = 0.8 * 0.95 + 0.2 * 0.05;
    const Interval clustered = share.interval(), plain = wilson(yes, 240);
    covered += clustered.low <= truth && truth <= clustered.high;
    naive += plain.low <= truth && truth <= plain.high;
  }
  EXPECT_GT(covered, 0.92 * kTrials);
  EXPECT_LT(naive, 0.80 * kTrials);
}

TEST(Bootstrap, OfEqualValuesTellsNothingOfOthers) {
  EXPECT_FALSE(bootstrap_mean(std::vector<double>(60, 48.0), 200, 1).is_known());
  EXPECT_FALSE(bootstrap_mean(std::vector<double>{3}, 200, 1).is_known());
  EXPECT_FALSE(bootstrap_mean(std::vector<double>{}, 200, 1).is_known());
  EXPECT_EQ(bootstrap_mean(std::vector<double>(60, 48.0), 200, 1).value, 48);
}

TEST(Bootstrap, IsTheSameForTheSameSeed) {
  std::vector<double> values;
  Random r(3);
  for (int i = 0; i < 200; ++i)
    values.push_back(r.normal() + 2);
  const Interval b = bootstrap_mean(values, 4000, 1);
  EXPECT_NEAR(b.high - b.low, 2 * 1.96 / std::sqrt(200.0), 0.05);  // what the normal theory says
  EXPECT_EQ(b.low, bootstrap_mean(values, 4000, 1).low);
  EXPECT_NE(b.low, bootstrap_mean(values, 4000, 2).low);
}

// Two groups of other sizes: a change in the small one weighs more, as it does in the balanced mean.
TEST(Mcnemar, OfTwoGroupsWeighsThemAsTheMeanDoes) {
  EXPECT_DOUBLE_EQ(mcnemar(std::vector<Changes>{{2, 0, 2}, {0, 0, 6}}), 0.5);
  // 2 of 2 gained, 2 of 20 lost: the sums that are as far from 0 as 1 - 0.1 are those where both of the first
  // group fall alike.
  EXPECT_DOUBLE_EQ(mcnemar(std::vector<Changes>{{2, 0, 2}, {0, 2, 20}}), 0.5);
  EXPECT_DOUBLE_EQ(mcnemar(std::vector<Changes>{}), 1);
}

TEST(Kappa, IsNotGivenWhereItMeansNothing) {
  EXPECT_FALSE(kappa(std::vector<int>(3, 1), std::vector<int>(3, 1)));
  EXPECT_FALSE(kappa(std::vector<int>(100, 1), std::vector<int>(100, 1)));
  std::vector<int> a(40, 1), b(40, 1);
  a[0] = 0;
  EXPECT_FALSE(kappa(a, b));
  b[1] = 0;
  EXPECT_TRUE(kappa(a, b));
}

}  // namespace
}  // namespace cai
