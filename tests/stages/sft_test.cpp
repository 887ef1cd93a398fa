#include "cai/stages/sft.hpp"

#include <gtest/gtest.h>

namespace cai {
namespace {

using Openings = std::vector<std::vector<int>>;

// Answers behind a prompt of two tokens.
std::vector<TrainExample> answers(const std::vector<std::vector<int>>& all) {
  std::vector<TrainExample> examples;
  for (const std::vector<int>& answer : all) {
    examples.push_back({.id = std::to_string(examples.size()), .tokens = {1, 2}, .prompt_tokens = 2});
    examples.back().tokens.insert(examples.back().tokens.end(), answer.begin(), answer.end());
  }
  return examples;
}

std::vector<TrainExample> of_one_token(const std::vector<int>& tokens) {
  std::vector<std::vector<int>> all;
  for (int token : tokens)
    all.push_back({token});
  return answers(all);
}

// "0-" for an example that answers at its first token, "0+1+" for one that declines at the first and at the
// second.
std::vector<std::string> decisions(const std::vector<TrainExample>& examples) {
  std::vector<std::string> all;
  for (const TrainExample& e : examples) {
    all.emplace_back();
    for (const Decision& d : e.decisions)
      all.back() += std::to_string(d.at) + (d.declines ? "+" : "-");
  }
  return all;
}

TEST(Sft, AnAnswerOfAPersonsOwnStandsInPlaceOfTheRevision) {
  const std::vector<Json> records = {
      {{"id", "1"},
       {"prompt", "Steal it."},
       {"tags", {"red-team"}},
       {"decline", true},
       {"revision", "I won't."},
       {"revision_problem", ""},
       {"history", Json::array()}},
      {{"id", "2"}, {"prompt", "Name a fruit."}, {"tags", {"ordinary"}}, {"response", "No."}},
      {{"id", "3"}, {"prompt", "Name a tree."}, {"tags", {"ordinary"}}, {"response", "Oak."}}};
  const People people(
      {{{"id", "x"}, {"prompt", "Name a fruit."}, {"edited", "Pear."}},
       {{"id", "y"}, {"prompt", "Steal it."}, {"edited", "I'm sorry, but that is not yours."}},
       {{"id", "z"}, {"prompt", "Name a fruit."}, {"edited", "Apple."}},
       {{"id", "w"}, {"prompt", "Name a bird."}, {"tags", {"ordinary"}}, {"edited", "Wren."}}});
  const std::vector<Json> edited = with_edits(records, people);
  ASSERT_EQ(edited.size(), 4u);
  EXPECT_EQ(edited[0]["revision"], "I'm sorry, but that is not yours.");
  EXPECT_EQ(edited[0]["decline"], true);
  EXPECT_FALSE(edited[0].contains("history"));
  EXPECT_EQ(edited[1]["revision"], "Apple.") << "the last one on a prompt";
  EXPECT_EQ(edited[1]["decline"], false);
  EXPECT_EQ(edited[2], records[2]);
  EXPECT_EQ(edited[3]["id"], "edit:w");
  EXPECT_EQ(edited[3]["revision"], "Wren.");
  EXPECT_EQ(edited[3]["tags"], (Json{"ordinary"}));
  EXPECT_EQ(with_edits(records, People()), records);
}

TEST(Sft, DecliningOpeningsAreThoseThatBeginDecliningAnswers) {
  // Declining: 10 three times, 11 twice, 20 once. The others: 20 twice, 21, 10 once.
  std::vector<TrainExample> examples = of_one_token({10, 10, 10, 11, 11, 20, 20, 20, 21, 10});
  EXPECT_EQ(find_decisions({true, true, true, true, true, true, false, false, false, false}, examples),
            (Openings{{10}, {11}}));
  // 20 begins more of the others, and the last answer begins like a refusal.
  EXPECT_EQ(decisions(examples),
            (std::vector<std::string>{"0+", "0+", "0+", "0+", "0+", "", "0-", "0-", "0-", ""}));
  EXPECT_EQ(examples[0].decisions[0].openings, (std::vector<int>{10, 11}));
}

TEST(Sft, BehindACommonBeginningTheNextTokensDecide) {
  // "I can ' t do it", "I won ' t do it" decline; "I can help", "I love it" and "Sure" answer. The fifth
  // token decides nothing.
  enum { kI = 10, kCan, kWon, kApostrophe, kHelp, kLove, kSure, kT, kDo, kIt };
  std::vector<TrainExample> examples = answers({{kI, kCan, kApostrophe, kT, kDo, kIt},
                                                {kI, kWon, kApostrophe, kT, kDo},
                                                {kI, kCan, kApostrophe, kT, kDo},
                                                {kI, kCan, kHelp, kIt},
                                                {kI, kLove, kIt},
                                                {kSure, kIt},
                                                {kSure},
                                                {kSure, kI, kCan}});
  EXPECT_EQ(find_decisions({true, true, true, false, false, false, false, false}, examples),
            (Openings{{kI},
                      {kI, kCan},
                      {kI, kWon},
                      {kI, kCan, kApostrophe},
                      {kI, kWon, kApostrophe},
                      {kI, kCan, kApostrophe, kT},
                      {kI, kWon, kApostrophe, kT}}));
  EXPECT_EQ(decisions(examples),
            (std::vector<std::string>{"0+1+2+3+", "0+1+2+3+", "0+1+2+3+", "2-", "1-", "0-", "0-", "0-"}));
  EXPECT_EQ(examples[0].decisions[1].openings, (std::vector<int>{kCan, kWon}));
  EXPECT_EQ(examples[3].decisions[0].openings, (std::vector<int>{kApostrophe}));
}

TEST(Sft, AnAnswerThatEndsWithItsOpeningDecidesNoFurther) {
  std::vector<TrainExample> examples = answers({{10}, {10, 11}, {20}});
  EXPECT_EQ(find_decisions({true, true, false}, examples), (Openings{{10}, {10, 11}}));
  EXPECT_EQ(decisions(examples), (std::vector<std::string>{"0+", "0+1+", "0-"}));
}

TEST(Sft, ARareOpeningIsNotOneAndThereAreEightAtMost) {
  std::vector<int> tokens(102, 10);
  tokens[50] = tokens[51] = 11;  // 2 of 102 declining ones: less than a fiftieth
  tokens.push_back(30);
  std::vector<bool> declines(102, true);
  declines.push_back(false);
  std::vector<TrainExample> examples = of_one_token(tokens);
  EXPECT_EQ(find_decisions(declines, examples), (Openings{{10}}));
  EXPECT_TRUE(examples[50].decisions.empty());

  tokens = {10, 11, 12, 13, 14, 15, 16, 17, 18, 18, 30};
  declines.assign(10, true), declines.push_back(false);
  examples = of_one_token(tokens);
  EXPECT_EQ(find_decisions(declines, examples), (Openings{{18}, {10}, {11}, {12}, {13}, {14}, {15}, {16}}));
  EXPECT_TRUE(examples[7].decisions.empty()) << "17 is the ninth";
}

TEST(Sft, WithoutBothSidesThereIsNothingToDecide) {
  for (const bool one : {false, true}) {
    std::vector<TrainExample> examples = of_one_token({10, 11});
    EXPECT_TRUE(find_decisions({one, one}, examples).empty());
    EXPECT_EQ(decisions(examples), (std::vector<std::string>{"", ""}));
  }
}

}  // namespace
}  // namespace cai
