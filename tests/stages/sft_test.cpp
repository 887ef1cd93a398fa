#include "cai/stages/sft.hpp"

#include <gtest/gtest.h>

namespace cai {
namespace {

using Side = TrainExample::Side;

// Answers of these first tokens, behind a prompt of two tokens.
std::vector<TrainExample> beginning_with(const std::vector<int>& tokens) {
  std::vector<TrainExample> examples;
  for (int token : tokens) examples.push_back({.id = std::to_string(examples.size()), .tokens = {1, 2, token, 3}, .prompt_tokens = 2});
  return examples;
}

std::vector<Side> sides(const std::vector<TrainExample>& examples) {
  std::vector<Side> all;
  for (const TrainExample& e : examples) all.push_back(e.side);
  return all;
}

TEST(Sft, DecliningOpeningsAreThoseThatBeginDecliningAnswers) {
  // Declining: 10 three times, 11 twice, 20 once. The others: 20 twice, 21, 10 once.
  std::vector<TrainExample> examples = beginning_with({10, 10, 10, 11, 11, 20, 20, 20, 21, 10});
  const std::vector<bool> declines = {true, true, true, true, true, true, false, false, false, false};
  EXPECT_EQ(decide_sides(declines, examples), (std::vector<int>{10, 11}));
  EXPECT_EQ(sides(examples), (std::vector<Side>{Side::kDeclines, Side::kDeclines, Side::kDeclines, Side::kDeclines, Side::kDeclines, Side::kNone,  // 20 begins more of the others
                                                Side::kAnswers, Side::kAnswers, Side::kAnswers, Side::kNone}));                                    // an answer that begins like a refusal
}

TEST(Sft, ARareOpeningIsNotOneAndThereAreEightAtMost) {
  std::vector<int> tokens(102, 10);
  tokens[50] = tokens[51] = 11;  // 2 of 102 declining ones: less than a fiftieth
  tokens.push_back(30);
  std::vector<bool> declines(102, true);
  declines.push_back(false);
  std::vector<TrainExample> examples = beginning_with(tokens);
  EXPECT_EQ(decide_sides(declines, examples), (std::vector<int>{10}));
  EXPECT_EQ(examples[50].side, Side::kNone);

  tokens = {10, 11, 12, 13, 14, 15, 16, 17, 18, 18, 30};
  declines.assign(10, true), declines.push_back(false);
  examples = beginning_with(tokens);
  EXPECT_EQ(decide_sides(declines, examples), (std::vector<int>{18, 10, 11, 12, 13, 14, 15, 16}));
  EXPECT_EQ(examples[7].side, Side::kNone) << "17 is the ninth";
}

TEST(Sft, WithoutBothSidesThereIsNothingToDecide) {
  for (const bool one : {false, true}) {
    std::vector<TrainExample> examples = beginning_with({10, 11});
    EXPECT_TRUE(decide_sides({one, one}, examples).empty());
    EXPECT_EQ(sides(examples), (std::vector<Side>{Side::kNone, Side::kNone}));
  }
}

}  // namespace
}  // namespace cai
