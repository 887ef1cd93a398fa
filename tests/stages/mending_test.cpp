#include "cai/stages/mending.hpp"

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <string>
#include <vector>

#include "cai/data/answer_check_yaml.hpp"

namespace cai {
namespace {

constexpr const char* kRequest = "How do I keep a plant alive?";

AnswerCheck check_of(const std::string& rules) {
  const YAML::Node node = YAML::Load("check: [" + rules + "]");
  std::vector<std::string> problems;
  YamlSection section(node, "test", "test.yaml", problems);
  const AnswerCheck check = read_check(section, "check");
  EXPECT_TRUE(problems.empty()) << rules << (problems.empty() ? "" : ": " + problems[0]);
  return check;
}

std::vector<Mend> mends_of(const std::string& rules, const std::string& answer, std::uint64_t seed = 1) {
  return mends(check_of(rules), kRequest, answer, Random(seed));
}

bool holds(const std::string& rules, const std::string& answer) {
  return apply_check(check_of(rules), kRequest, answer).holds();
}

TEST(Mending, LeavesOutTheLastSentencesWhereAnAnswerIsTooLong) {
  const std::string answer = "Water the plant. Give it light. Turn it. Feed it.";
  const std::vector<Mend> all = mends_of("{sentences: {at_most: 2}}", answer);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].text, "Water the plant. Give it light.");
  EXPECT_EQ(all[0].begun, "");
  EXPECT_EQ(mends_of("{words: {at_most: 6}}", answer)[0].text, "Water the plant. Give it light.");
  EXPECT_TRUE(mends_of("{words: {at_most: 2}}", answer).empty()) << "no whole sentence is that short";
}

TEST(Mending, KeepsLinesAsTheyAre) {
  const std::string answer = "Do this:\n1. Water the plant.\n2. Give it light.\nYou can sing to it!";
  EXPECT_EQ(mends_of("{avoids: ['!']}", answer)[0].text, "Do this:\n1. Water the plant.\n2. Give it light.");
}

TEST(Mending, LeavesOutSentencesThatSayWhatIsToBeAvoided) {
  EXPECT_EQ(mends_of("{avoids: [you]}", "Plants need water. You should water it. Light helps too.")[0].text,
            "Plants need water. Light helps too.");
  EXPECT_TRUE(mends_of("{avoids: [you]}", "You should water it.").empty());
}

TEST(Mending, LetsAModelEndWithAQuestion) {
  const std::string rules = "{ends_with: '?'}";
  const std::vector<Mend> all = mends_of(rules, "Water the plant. Give it light");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].text, "Water the plant. Give it light.");
  EXPECT_EQ(all[1].text, "Water the plant.");
  EXPECT_FALSE(all[0].begun.empty());
  const std::string asked = all[0].opening() + " more of this? I know a lot. Do ask!";
  EXPECT_EQ(mended(all[0], asked), all[0].opening() + " more of this?");
  EXPECT_TRUE(holds(rules, mended(all[0], asked)));
  EXPECT_EQ(mended(all[0], all[0].opening() + " more of this."), "") << "no question";
  EXPECT_EQ(mended(all[0], all[0].opening() + " more of"), "") << "no end";
  EXPECT_EQ(mended(all[0], "Another answer?"), "") << "the model began anew";
}

TEST(Mending, AddsTheWordsThatAreMissing) {
  const Mend thanks = mends_of("{contains: [thank]}", "Water the plant.")[0];
  EXPECT_EQ(thanks.opening(), "Water the plant. Thank");
  EXPECT_TRUE(holds("{contains: [thank]}", mended(thanks, thanks.opening() + " the sun for it. And then")));
  const Mend missing = mends_of("{contains_all: [plant, example]}", "Water the plant.")[0];
  EXPECT_EQ(missing.begun, "Example");
  EXPECT_EQ(mends_of("{ends_with: 'Good luck!'}", "Water the plant.")[0].text, "Water the plant. Good luck!");
  EXPECT_TRUE(mends_of("{matches: '\\d{3}'}", "Water the plant.").empty()) << "a pattern is no phrase";
}

TEST(Mending, BeginsASentenceAsThePrincipleSays) {
  const std::vector<std::string> beginnings = {"Say thanks to"};
  for (const char* rules : {"{contains: thank}", "{matches: 'thanks?'}"}) {
    const std::vector<Mend> all = mends(check_of(rules), kRequest, "Water the plant.", Random(1), beginnings);
    ASSERT_FALSE(all.empty()) << rules;
    EXPECT_EQ(all[0].opening(), "Water the plant. Say thanks to") << rules;
  }
  EXPECT_TRUE(
      mends(check_of("{refuses: true}"), kRequest, "Water the plant.", Random(1), beginnings).empty());
}

TEST(Mending, LooksIntoConditionsAndAlternatives) {
  const std::string wished = "Water it. Good luck!";
  EXPECT_EQ(
      mends_of("{if_request: [{contains: plant}], then: [{ends_with: 'Good luck!'}]}", "Water it.")[0].text,
      wished);
  EXPECT_EQ(mends_of("{any: [{json: true}, {ends_with: 'Good luck!'}]}", "Water it.")[0].text, wished);
}

TEST(Mending, DoesNothingWhereNothingIsBrokenOrAnotherAnswerIsNeeded) {
  EXPECT_TRUE(mends_of("{sentences: {at_most: 2}}", "Water it.").empty());
  for (const char* rules : {"{language: de}", "{json: true}", "{refuses: true}"})
    EXPECT_TRUE(mends_of(rules, "Water the plant and give it light.").empty()) << rules;
  EXPECT_TRUE(mends_of("{ends_with: '?'}", "").empty());
}

// What a mend promises: a program's own change makes the rule hold.
TEST(Mending, AChangeByTheProgramAloneMakesTheRuleHold) {
  const std::vector<std::string> answers = {
      "Water the plant. Give it light! You may turn it, too. Does it grow?",
      "Well, a plant needs water\n\nIt needs light.\n- Sun\n- Rain", "Pflanzen brauchen Wasser. Und Licht!",
      "植物需要水。植物需要光。你要看它。"};
  const std::vector<std::string> rules = {"{sentences: {at_most: 1}}",   "{words: {at_most: 8}}",
                                          "{characters: {at_most: 40}}", "{lines: {at_most: 1}}",
                                          "{paragraphs: {at_most: 1}}",  "{avoids: [you, '!']}",
                                          "{avoids_pattern: ','}",       "{ends_with: 'Good luck!'}"};
  int made = 0;
  for (const std::string& answer : answers)
    for (const std::string& rule : rules)
      for (const Mend& mend : mends_of(rule, answer)) {
        EXPECT_TRUE(mend.begun.empty()) << rule;
        EXPECT_TRUE(holds(rule, mend.text)) << rule << "\n" << mend.text;
        ++made;
      }
  EXPECT_GT(made, 12);
}

}  // namespace
}  // namespace cai
