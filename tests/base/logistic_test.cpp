// Logistic and isotonic regression, AUC and exact bounds against scikit-learn and scipy
// (tests/golden/guard.py).
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cai/base/calibration.hpp"
#include "cai/base/error.hpp"
#include "cai/base/logistic.hpp"
#include "cai/base/random.hpp"

namespace cai {
namespace {

nlohmann::json golden() {
  std::ifstream file(CAI_SOURCE_DIR "/tests/base/golden/guard.json");
  return nlohmann::json::parse(file);
}

TEST(Logistic, AgreesWithScikitLearn) {
  for (const auto& one : golden()["logistic"]) {
    const std::vector<float> x = one["x"];
    const std::vector<int> y = one["y"];
    const std::vector<double> weights = one["weights"], expected = one["expected"];
    const LogisticFit fit = fit_logistic({x, one["width"], y, weights}, one["c"]);
    EXPECT_TRUE(fit.converged);
    for (std::size_t k = 0; k < expected.size(); ++k)
      EXPECT_NEAR(fit.weights[k], expected[k], 2e-5);
    EXPECT_NEAR(fit.bias, one["bias"].get<double>(), 2e-5);
  }
}

TEST(Logistic, GivesTheSameBitsTwiceAndRefusesOneClass) {
  const auto one = golden()["logistic"][2];
  const std::vector<float> x = one["x"];
  std::vector<int> y = one["y"];
  const LogisticFit a = fit_logistic({x, one["width"], y, {}}, 1),
                    b = fit_logistic({x, one["width"], y, {}}, 1);
  EXPECT_EQ(a.weights, b.weights);
  EXPECT_EQ(a.bias, b.bias);
  y.assign(y.size(), 1);
  EXPECT_THROW(fit_logistic({x, one["width"], y, {}}, 1), Bug);
}

TEST(Isotonic, AgreesWithScikitLearn) {
  for (const auto& one : golden()["isotonic"]) {
    const std::vector<double> scores = one["scores"], at = one["at"], expected = one["expected"];
    const std::vector<int> outcomes = one["outcomes"];
    const Isotonic fit = fit_isotonic(scores, outcomes);
    for (std::size_t i = 0; i < at.size(); ++i)
      EXPECT_NEAR(fit.at(at[i]), expected[i], 1e-9) << at[i];
  }
}

TEST(AreaUnderCurve, AgreesWithScikitLearn) {
  for (const auto& one : golden()["auc"]) {
    const std::vector<double> positives = one["positives"], negatives = one["negatives"];
    const Interval area = area_under_curve(positives, negatives);
    EXPECT_NEAR(area.value, one["expected"].get<double>(), 1e-12);
    EXPECT_LT(area.low, area.value);
    EXPECT_GT(area.high, area.value);
  }
  EXPECT_EQ(area_under_curve({}, std::vector<double>{1}).n, 0);
}

// Two normal distributions one standard deviation apart: the area is Phi(1 / sqrt 2).
TEST(AreaUnderCurve, ItsIntervalCovers) {
  const double truth = 0.7602499389;
  long covered = 0;
  constexpr int kTimes = 1000;
  for (int t = 0; t < kTimes; ++t) {
    Random random = Random(3).derive(static_cast<std::uint64_t>(t));
    std::vector<double> positives, negatives;
    for (int i = 0; i < 40; ++i)
      positives.push_back(1 + random.normal()), negatives.push_back(random.normal());
    const Interval area = area_under_curve(positives, negatives);
    covered += area.low <= truth && truth <= area.high;
  }
  EXPECT_GE(covered, 930);
  EXPECT_LE(covered, 975);
}

TEST(UpperBound, IsClopperAndPearsons) {
  for (const auto& one : golden()["upper_bound"])
    EXPECT_NEAR(upper_bound(one["successes"], one["n"]), one["expected"].get<double>(), 1e-9);
  EXPECT_EQ(upper_bound(0, 0), 1);
  EXPECT_EQ(upper_bound(5, 5), 1);
  EXPECT_EQ(least_without_error(0.01), 299);
  EXPECT_LE(upper_bound(0, least_without_error(0.02)), 0.02);
  EXPECT_GT(upper_bound(0, least_without_error(0.02) - 1), 0.02);
}

}  // namespace
}  // namespace cai
