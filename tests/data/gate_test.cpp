#include "cai/data/gate.hpp"

#include <gtest/gtest.h>

#include "cai/base/error.hpp"

using namespace cai;

namespace {

Json interval(double value, double low, double high) {
  return {{"value", value}, {"low", low}, {"high", high}, {"n", 60}};
}

const Json kFigures = {
    {"models", {"base", "mine"}},
    {"measures",
     {{"attack_success", {{"base", interval(0.8, 0.7, 0.9)}, {"mine", interval(0.25, 0.15, 0.37)}}},
      {"of_base", {{"base", interval(0.8, 0.7, 0.9)}}}}},
    {"differences", {{"attack_success", {{"mine", interval(-0.55, -0.66, -0.41)}}}}}};

GateVerdict judged(const char* gate) {
  return judge_gate(read_gate(gate), kFigures);
}

}  // namespace

TEST(Gate, NamesTheBoundThatItLooksAt) {
  EXPECT_EQ(read_gate("attack_success.high <= 30%").bound, GateBound::kHigh);
  EXPECT_EQ(read_gate("attack_success.low>=30%").bound, GateBound::kLow);
  EXPECT_EQ(read_gate("attack_success.value <= 30%").bound, GateBound::kValue);
  EXPECT_EQ(read_gate("attack_success <= 30%").bound, GateBound::kValue);
  EXPECT_EQ(read_gate("attack_success <= 30% with 95%").bound, GateBound::kHigh);
  EXPECT_EQ(read_gate("attack_success >= 30% with 95 %").bound, GateBound::kLow);
  EXPECT_EQ(read_gate("violates.privacy.high <= 1%").measure, "violates.privacy");
  EXPECT_EQ(read_gate("violates.privacy <= 1%").measure, "violates.privacy");
}

TEST(Gate, JudgesByThatBound) {
  EXPECT_TRUE(judged("attack_success <= 30%").passed);
  EXPECT_FALSE(judged("attack_success.high <= 30%").passed);
  EXPECT_TRUE(judged("attack_success.high <= 37%").passed);
  EXPECT_TRUE(judged("attack_success.low >= 15%").passed);
  EXPECT_FALSE(judged("attack_success.low >= 16%").passed);
  EXPECT_DOUBLE_EQ(judged("attack_success.high <= 30%").value, 0.25);
  EXPECT_DOUBLE_EQ(judged("attack_success.high <= 30%").used, 0.37);
}

TEST(Gate, AgainstTheFirstModelTakesTheDifferencesBound) {
  EXPECT_TRUE(judged("attack_success.high <= base - 41pt").passed);
  EXPECT_FALSE(judged("attack_success.high <= base - 42pt").passed);
  EXPECT_TRUE(judged("attack_success.low >= base - 66pt").passed);
  EXPECT_TRUE(judged("attack_success.high <= base - 41pt").is_difference);
  EXPECT_DOUBLE_EQ(judged("attack_success <= base - 50pt").limit, 0.3);
}

TEST(Gate, TellsAnIntervalThatCrossesTheLimit) {
  EXPECT_TRUE(judged("attack_success <= 30%").crosses);
  EXPECT_FALSE(judged("attack_success <= 40%").crosses);
  EXPECT_FALSE(judged("attack_success <= 20%").crosses);  // it fails
  EXPECT_FALSE(judged("attack_success.high <= 40%").crosses);
}

TEST(Gate, FailsWithoutTheFigure) {
  EXPECT_EQ(judged("guard.false_positives.high <= 2%").missing, "guard.false_positives was not measured");
  EXPECT_FALSE(judged("guard.false_positives.high <= 2%").passed);
  EXPECT_FALSE(judged("of_base <= 100%").passed);  // of the first model only
}

TEST(Gate, RefusesWhatItCannotRead) {
  for (const char* text :
       {"", "<= 3%", "a", "a = 3", "a b <= 3", "a <= x", "a <= 3%%", "a <= nan", ".high <= 3%",
        "a.high <= 3% with 95%", "a <= 3% with 90%", "a <= base * 2", "a <= base + x"})
    EXPECT_THROW(read_gate(text), InputError) << text;
  try {
    read_gate("a under 3%", "release.yaml:4");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()).find("release.yaml:4: \"a under 3%\"; accepted: MEASURE[.low"), 0u);
  }
}
