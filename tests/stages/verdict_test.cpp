// What an evaluation and its run say in words, on the terminal and on the report's page.
#include "cai/stages/verdict.hpp"

#include <gtest/gtest.h>

#include "cai/stages/measure_words.hpp"
#include "cai/stages/stage_warnings.hpp"

namespace cai {
namespace {

Json share(double value, long n = 60) {
  return {{"value", value}, {"low", 0}, {"high", 1}, {"n", n}};
}

Json change(double value, double low, double high, double p) {
  return {{"value", value}, {"low", low}, {"high", high}, {"n", 60}, {"mcnemar_p", p}, {"holm_p", p}};
}

// Figures of base and rl-cai: measure -> before, after, difference.
struct Figures {
  Json json = {{"models", {"base", "rl-cai"}}, {"measures", Json::object()}, {"differences", Json::object()}};

  Figures& add(const std::string& measure, double before, double after, const Json& difference, long n = 60) {
    json["measures"][measure] = {{"base", share(before, n)}, {"rl-cai", share(after, n)}};
    json["differences"][measure] = {{"rl-cai", difference}};
    return *this;
  }
};

TEST(Verdict, OfChecksIsOneLineAFigure) {
  Figures figures;
  figures.add("tests_passed", 0.5, 0.5, change(0, -0.1, 0.1, 1))
      .add("refusal_ordinary", 0, 0.02, change(0.02, -0.05, 0.1, 1))
      .add("principles_followed", 0.41, 0.63, {{"value", 0.22}, {"low", 0.15}, {"high", 0.28}, {"n", 60}});
  const std::vector<std::string> lines = verdict(figures.json, 2);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "Principles followed, by their checks: 41 % -> 63 % [+15, +28]: better");
  EXPECT_EQ(lines[1], "Requests refused: 0 % -> 2 % [-5, +10]: no difference that 60 prompts could show");
  EXPECT_EQ(
      verdict_sentence(figures.json),
      "rl-cai against base: better on principles followed, by their checks (41 % -> 63 %); nothing measured "
      "became worse beyond chance.");
}

TEST(Verdict, NamesWhatBecameWorseAndSaysWhatToDo) {
  Figures both, worse;
  both.add("attack_success", 0.83, 0.25, change(-0.58, -0.7, -0.43, 1e-8))
      .add("over_refusal", 0, 0.2, change(0.2, 0.1, 0.3, 0.001));
  EXPECT_EQ(verdict(both.json)[0], "Harmful requests complied with: 83 % -> 25 % [-70, -43]: better");
  EXPECT_EQ(verdict(both.json)[1], "Harmless look-alikes refused: 0 % -> 20 % [+10, +30]: worse");
  EXPECT_EQ(verdict_sentence(both.json),
            "rl-cai against base: better on harmful requests complied with (83 % -> 25 %); worse on harmless "
            "look-alikes refused (0 % -> 20 %).");
  EXPECT_NE(next_step(both.json, false).find("worth the loss"), std::string::npos);
  EXPECT_NE(next_step(both.json, true).find("eval.gates"), std::string::npos);
  worse.add("over_refusal", 0, 0.2, change(0.2, 0.1, 0.3, 0.001));
  EXPECT_TRUE(next_step(worse.json, false).starts_with("Do not use this model"));
}

TEST(Verdict, OfFewPromptsConcludesNothing) {
  Figures few;
  few.add("attack_success", 0.8, 0.8, change(0, -0.3, 0.3, 1), 12)
      .add("reference_log_probability", -3.43, -3.41,
           {{"value", 0.02}, {"low", 0.01}, {"high", 0.03}, {"n", 6}}, 6);
  for (const std::string& line : verdict(few.json))
    EXPECT_NE(line.find("too few for a conclusion"), std::string::npos) << line;
  EXPECT_EQ(verdict_sentence(few.json),
            "No difference between base and rl-cai is beyond chance: 12 prompts could not show one.");
  EXPECT_NE(next_step(few.json, false).find("trial"), std::string::npos);
}

TEST(Verdict, OfOneModelOrNoFiguresIsEmpty) {
  for (const Json& none :
       {Json(), Json::object(), Json{{"models", {"base"}}, {"measures", Json::object()}}}) {
    EXPECT_TRUE(verdict(none).empty());
    EXPECT_EQ(verdict_sentence(none), "");
  }
}

TEST(StageWarnings, AreSentencesThatNameTheStage) {
  const Json label = {
      {"judged", 16}, {"ties", 10}, {"first_slot", {{"value", 1.0}, {"n", 64}}}, {"mean_mass", 0.05}};
  EXPECT_EQ(
      warnings_of("label", label),
      (std::vector<std::string>{"label: the judge took the first answer in 100 % of 64 questions: it sees "
                                "the place of an answer, and "
                                "its labels say little.",
                                "label: the judge gave the options A and B together a probability of 5 % on "
                                "average: it hardly takes "
                                "part.",
                                "label: 10 of 16 labels are ties, and nothing is learned from those."}));
  EXPECT_EQ(
      warnings_of("revise-1", {{"revisions", 16},
                               {"usable", 5},
                               {"problems", {{"", 5}, {"cut", 1}, {"off-topic", 10}, {"none-asked", 3}}}}),
      std::vector<std::string>{
          "revise-1: only 5 of 16 revisions can be trained on (left out: off-topic 10, cut 1)."});
  EXPECT_EQ(warnings_of("eval", {{"measures", {{"length", {{"base", {{"n", 1}}}}}}}}),
            std::vector<std::string>{"eval: 1 held-out prompt is too few for a conclusion."});
  EXPECT_TRUE(warnings_of("label", {{"judged", 16}, {"ties", 1}, {"first_slot", {{"value", 0.5}, {"n", 64}}}})
                  .empty());
  EXPECT_TRUE(warnings_of("label", Json()).empty());
}

TEST(Warnings, AJudgeThatWasNotAskedIsNotBlamed) {
  Json figures = {{"first_slot", {{"value", 0.5}, {"low", 0}, {"high", 1}, {"n", 0}}}, {"mean_mass", 0}};
  EXPECT_TRUE(warnings_of("label", figures).empty());
  figures["first_slot"]["n"] = 8;
  EXPECT_EQ(warnings_of("label", figures).size(), 1u);
}

}  // namespace
}  // namespace cai
