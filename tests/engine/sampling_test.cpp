#include "cai/engine/sampling.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace cai {
namespace {

TEST(Sample, TemperatureZeroTakesTheLowestOfTheHighestAndNoDraw) {
  const std::vector<float> logits = {1, 3, 2, 3};
  Random random(1);
  const Sampled s = sample(logits, 0, 1, random);
  EXPECT_EQ(s.token, 1);
  EXPECT_EQ(random.counter(), Random(1).counter());
  EXPECT_NEAR(s.log_probability, 3 - std::log(std::exp(1.0) + 2 * std::exp(3.0) + std::exp(2.0)), 1e-6);
}

TEST(Sample, FollowsTheDistributionAtItsTemperature) {
  const std::vector<float> logits = {0, 1, 2, -1};
  for (double temperature : {0.5, 1.0, 2.0}) {
    std::vector<double> expected(4), seen(4);
    double total = 0;
    for (int i = 0; i < 4; ++i)
      total += expected[i] = std::exp(logits[i] / temperature);
    Random random(7);
    const int n = 40000;
    for (int i = 0; i < n; ++i)
      seen[static_cast<std::size_t>(sample(logits, temperature, 1, random).token)] += 1.0 / n;
    // Five standard deviations of a proportion over 40,000 draws: a fixed seed, so this passes always or
    // never.
    for (int i = 0; i < 4; ++i)
      EXPECT_NEAR(seen[i], expected[i] / total, 5 * std::sqrt(0.25 / n)) << temperature << " token " << i;
  }
}

TEST(Sample, ANucleusDrawsOnlyTheLikeliestTokensThatReachIt) {
  const std::vector<float> logits = {0, 1, 2, -1};  // 0.087, 0.237, 0.644, 0.032
  Random random(3);
  for (int i = 0; i < 2000; ++i) {
    const int token = sample(logits, 1, 0.8, random).token;
    EXPECT_TRUE(token == 2 || token == 1) << token;
  }
  for (int i = 0; i < 200; ++i)
    EXPECT_EQ(sample(logits, 1, 0.5, random).token, 2);
}

TEST(Sample, LogProbabilitiesAreThoseOfTemperatureOne) {
  const std::vector<float> logits = {0, 1, 2, -1};
  Random random(4);
  const Sampled s = sample(logits, 3, 1, random);
  double total = 0;
  for (float x : logits)
    total += std::exp(static_cast<double>(x));
  EXPECT_NEAR(s.log_probability, logits[static_cast<std::size_t>(s.token)] - std::log(total), 1e-6);
}

}  // namespace
}  // namespace cai
