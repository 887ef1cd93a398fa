#include "cai/train/ppo_math.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "cai/base/error.hpp"

namespace cai {
namespace {

// A worked example, computed by hand in float64: kl 0.05, gamma 1, lambda 0.95; four tokens, score 1.
Rollout example() {
  Rollout r;
  r.log_probabilities = {-1.2, -0.7, -2.0, -0.3};
  r.reference = {-1.0, -1.1, -1.9, -0.5};
  r.values = {0.10, 0.25, 0.40, 0.70};
  r.score = 1;
  return r;
}

// A second response, of two tokens, cut by the limit: its score 0.4 less the penalty of 1.
Rollout cut_example() {
  Rollout r;
  r.log_probabilities = {-0.9, -1.5};
  r.reference = {-0.9, -1.2};
  r.values = {0.2, 0.1};
  r.score = 0.4 - 1.0;
  r.is_finished = false;
  return r;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], expected[i], 1e-6) << i;
}

TEST(PpoMath, RewardsHoldThePenaltyAndTheScoreOnTheLastToken) {
  expect_near(token_rewards(example(), 0.05), {0.010, -0.020, 0.005, 0.990});
  expect_near(token_rewards(cut_example(), 0.05), {0, -0.585});
}

TEST(PpoMath, AdvantagesAndReturnsAgreeWithTheWorkedExample) {
  const Advantages a = estimate_advantages(token_rewards(example(), 0.05), example().values, 1, 0.95);
  expect_near(a.advantages, {0.807401, 0.681475, 0.580500, 0.290000});
  expect_near(a.returns, {0.907401, 0.931475, 0.980500, 0.990000});
  const Advantages b = estimate_advantages(token_rewards(cut_example(), 0.05), cut_example().values, 1, 0.95);
  expect_near(b.advantages, {-0.750750, -0.685});
  expect_near(b.returns, {-0.550750, -0.585});
  // With the score one slot behind the last token, as TRL lays it out, the same function gives TRL's numbers.
  expect_near(estimate_advantages({0.010, -0.020, 0.005, -0.010, 1}, {0.10, 0.25, 0.40, 0.70, 0.55}, 1, 0.95)
                  .advantages,
              {0.788110, 0.661169, 0.559125, 0.267500, 0.450000});
  EXPECT_THROW(estimate_advantages({1, 2}, {1}, 1, 1), Bug);
}

TEST(PpoMath, WhiteningIsOverAllTokensOfTheBatchTogether) {
  std::vector<std::vector<double>> one = {{0.8074008125, 0.681475, 0.5805, 0.29}};
  whiten(one);
  expect_near(one[0], {0.987126, 0.415759, -0.042397, -1.360488});
  std::vector<std::vector<double>> two = {{0.8074008125, 0.681475, 0.5805, 0.29}, {-0.75075, -0.685}};
  whiten(two);
  expect_near(two[0], {0.937728, 0.757023, 0.612122, 0.195251});
  expect_near(two[1], {-1.298238, -1.203886});
  std::vector<std::vector<double>> lonely = {{1.0}};
  EXPECT_THROW(whiten(lonely), Bug);
}

TEST(PpoMath, EstimatorsOfTheDivergenceAgreeWithTheWorkedExample) {
  double k1 = 0, second = 0, third = 0;
  const Rollout r = example();
  for (std::size_t t = 0; t < 4; ++t) {
    const double d = r.log_probabilities[t] - r.reference[t];
    k1 += d, second += k2(d), third += k3(d);
  }
  EXPECT_NEAR(k1, 0.3, 1e-9);
  EXPECT_NEAR(second, 0.125, 1e-9);
  EXPECT_NEAR(third, 0.115624, 1e-6);
  EXPECT_TRUE(std::isfinite(k3(-1e9)));
}

TEST(PpoMath, GroupAdvantagesAgreeWithTheWorkedExample) {
  expect_near(leave_one_out({1, 0, 0.5, 0.1}), {0.8, -0.533333, 0.133333, -0.4});
  expect_near(group_relative({1, 0, 0.5, 0.1}), {1.319824, -0.879883, 0.219971, -0.659912});
  expect_near(group_relative({2, 2}), {0, 0});
  EXPECT_THROW(leave_one_out({1}), Bug);
}

TEST(PpoMath, TheAdaptiveCoefficientFollowsTheClippedError) {
  EXPECT_NEAR(adapt_kl_coefficient(0.2, 9, 6, 64, 10000), 0.200256, 1e-9);
  EXPECT_NEAR(adapt_kl_coefficient(0.2, NAN, 6, 64, 10000), 0.2, 0);
  EXPECT_LT(adapt_kl_coefficient(0.2, 1, 6, 64, 10000), 0.2);
}

}  // namespace
}  // namespace cai
