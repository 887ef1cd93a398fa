#include "cai/data/check_from_text.hpp"

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <map>
#include <string>
#include <vector>

#include "cai/data/answer_check.hpp"
#include "cai/data/answer_check_yaml.hpp"

namespace cai {
namespace {

AnswerCheck check_of(const std::string& sentence) {
  YAML::Node node;
  const std::string rules = check_from_text(sentence);
  if (rules.empty()) return {};
  node["check"] = YAML::Load(rules);
  std::vector<std::string> problems;
  YamlSection section(node, "test", "test.yaml", problems);
  const AnswerCheck check = read_check(section, "check");
  EXPECT_TRUE(problems.empty()) << sentence << " -> " << rules << ": "
                                << (problems.empty() ? "" : problems.front());
  return check;
}

TEST(CheckFromText, TakesPlainRules) {
  const std::map<std::string, std::string> expected = {
      {"Answer in at most three sentences.", "[{sentences: {at_most: 3}}]"},
      {"Use no more than 40 words.", "[{words: {at_most: 40}}]"},
      {"Keep every answer under fifty words.", "[{words: {at_most: 49}}]"},
      {"Write between 20 and 60 words.", "[{words: {at_least: 20, at_most: 60}}]"},
      {"Answer in one sentence.", "[{sentences: {at_least: 1, at_most: 1}}]"},
      {"Give answers of two sentences or fewer.", "[{sentences: {at_most: 2}}]"},
      {"End every answer with a question.", "[{ends_with: '?'}]"},
      {"End with one question that helps the person to go on.", "[{ends_with: '?'}]"},
      {"Always end with the words \"Stay safe.\"", "[{ends_with: ['Stay safe']}]"},
      {"Begin with \"In short\".", "[{begins_with: ['In short']}]"},
      {"Write without exclamation marks.", "[{avoids_pattern: '!'}]"},
      {"Do not use the words \"very\", \"really\" and \"just\".", "[{avoids: ['very', 'really', 'just']}]"},
      {"Leave out the words \xe2\x80\x9cvery\xe2\x80\x9d and \xe2\x80\x9csimply\xe2\x80\x9d.",
       "[{avoids: ['very', 'simply']}]"},
      {"Mention the word \"receipt\".", "[{contains_all: ['receipt']}]"},
      {"Address the reader as \"you\".", "[{contains: [you, your, yours, yourself]}]"},
      {"Thank the customer for their question.", "[{contains: [thank, thanks]}]"},
      {"Never use more than 60 words.", "[{words: {at_most: 60}}]"},
      {"Do not write fewer than 20 words.", "[{words: {at_least: 20}}]"},
      {"Answer in German.", "[{language: de}]"},
      {"Answer in at most two sentences and end with a question.",
       "[{ends_with: '?'}, {sentences: {at_most: 2}}]"},
  };
  for (const auto& [sentence, rules] : expected)
    EXPECT_EQ(check_from_text(sentence), rules) << sentence;
}

TEST(CheckFromText, LeavesWhatItDoesNotUnderstandWhole) {
  for (const char* sentence :
       {"Be honest.", "Never help anybody to hurt people.",
        "Answer in at most three sentences that a child understands.",
        "If the person is sad, end with a question.", "Do not reveal the word \"secret\" when asked for it.",
        "Use metric units, and round them sensibly.", "Explain one idea at a time.", "End with a joke.",
        "Do not give medical advice.", "Say who wrote it.", "Never answer in one sentence.",
        "Do not end with a question.", "Do not answer in German.", "", "!!!",
        "Answer the two sentences of the user."})
    EXPECT_EQ(check_from_text(sentence), "") << sentence;
}

TEST(CheckFromText, ItsRulesHoldAndFail) {
  struct Case {
    std::string sentence, good, bad;
  };
  const std::vector<Case> cases = {
      {"Write without emojis.", "Fine, then.", "Fine \xf0\x9f\x98\x80"},
      {"Answer without bullet points.", "One, two.", "- one\n- two"},
      {"Answer as a numbered list.", "1. One\n2. Two", "One and two."},
      {"Do not use contractions.", "It is not so.", "It isn't so."},
      {"Give measures in metric units only.", "It is 5 km.", "It is 3 miles."},
      {"Write numbers in digits.", "There are 3.", "There are three."},
      {"Begin with a greeting.", "Hello, here it is.", "Here it is."},
      {"Use no semicolons, parentheses or emojis.", "One. Two.", "One (two)."},
  };
  for (const Case& one : cases) {
    const AnswerCheck check = check_of(one.sentence);
    ASSERT_FALSE(check.empty()) << one.sentence;
    EXPECT_TRUE(apply_check(check, "", one.good).holds()) << one.sentence;
    EXPECT_FALSE(apply_check(check, "", one.bad).holds()) << one.sentence;
  }
}

}  // namespace
}  // namespace cai
