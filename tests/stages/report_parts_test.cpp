// What stands in the report's parts.
#include <gtest/gtest.h>

#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/stages/report.hpp"
#include "run_folder.hpp"

namespace cai {
namespace {

// Prompts without a kind and two models, of which the last one keeps the rule more often.
void untagged(const RunFolder& run) {
  const auto share = [](double v) { return Json{{"value", v}, {"low", 0.2}, {"high", 0.8}, {"n", 40}}; };
  const Json change = {{"value", 0.25}, {"low", 0.1},         {"high", 0.4},
                       {"n", 40},       {"mcnemar_p", 0.001}, {"holm_p", 0.01}};
  run.stage("prompts", {{"records", 16}, {"red-team", 0}, {"borderline", 0}, {"ordinary", 16}});
  run.stage("critique-1", {{"records", 16},
                           {"critiques", 12},
                           {"principles", {{"short", 12}}},
                           {"red_team", {{"declined", 0}}},
                           {"decided_by", {{"tag", 16}}}});
  run.stage(
      "label",
      {{"records", 9}, {"judged", 8}, {"ties", 1}, {"method", "choice"}, {"decided_by", {{"check", 8}}}});
  const auto answer = [](const char* model, const char* response, const char* broken) {
    return Json{{"id", "1"},
                {"prompt", "Why is it so?"},
                {"model", model},
                {"response", response},
                {"checks", {{"short", broken}}}};
  };
  run.stage("eval",
            {{"models", {"base", "mine"}},
             {"tests", 1},
             {"measures",
              {{"attack_success", Json::object()},
               {"principles_followed", {{"base", share(0.41)}, {"mine", share(0.66)}}},
               {"refusal_ordinary", {{"base", share(0)}, {"mine", share(0)}}}}},
             {"differences",
              {{"principles_followed", {{"mine", change}}}, {"refusal_ordinary", {{"mine", share(0)}}}}},
             {"followed", {{"short", {{"base", share(0.41)}, {"mine", share(0.66)}}}}},
             {"followed_differences", {{"short", {{"mine", change}}}}}},
            {answer("base", "No reason.", "too long"), answer("mine", "Because.", "")});
}

TEST(ReportParts, OfPromptsWithoutKindsSpeaksOfNone) {
  RunFolder run;
  untagged(run);
  std::string page = report_html(run.path, {{"state", "done"}}, ReportConfig{});
  for (const char* words :
       {"Principles followed, by their checks", "Requests refused", "Follows &quot;short&quot;",
        "mine: 66 %, +25 [+10, +40], better", "nobody: no prompt has a kind tag",
        "a check (rules that the program verifies): 8", "8 of 9, 1 ties"})
    EXPECT_NE(page.find(words), page.npos) << words;
  page = lower_ascii(page);
  for (const char* words : {"harmful", "red-team", "red_team", "kind of the request", "decline or"})
    EXPECT_EQ(page.find(words), page.npos) << words;
}

TEST(ReportParts, ShowsAnswersSideBySideWithWhatTheirFiltersNeed) {
  RunFolder run;
  untagged(run);
  const std::string page = report_html(run.path, {{"state", "done"}}, ReportConfig{});
  const std::size_t example =
      page.find("<details class=\"example\" data-principle=\"0\" data-change=\"better\"");
  ASSERT_NE(example, page.npos);
  std::size_t at = example;
  for (const char* words : {"Why is it so?", "<b>base</b>", "No reason.", "breaks short (too long)",
                            "<b>mine</b>", "Because.", "follows short"}) {
    at = page.find(words, at);
    ASSERT_NE(at, page.npos) << words;
  }
  EXPECT_LT(page.find("<option value=\"0\">short</option>"), example);
  ReportConfig none;
  none.examples = 0;
  EXPECT_EQ(report_html(run.path, {{"state", "done"}}, none).find("Because."), page.npos);
}

TEST(ReportParts, ContentsNameEachSectionInOrder) {
  RunFolder run;
  untagged(run);
  const std::string page = report_html(run.path, {{"state", "done"}}, ReportConfig{});
  std::size_t in_contents = 0, in_page = page.find("<main");
  for (const char* id : {"verdict", "decisions", "principles", "answers", "suites", "stages", "provenance"}) {
    in_contents = page.find("<a href=\"#" + std::string(id) + "\">", in_contents);
    in_page = page.find("<h2 id=\"" + std::string(id) + "\">", in_page);
    ASSERT_NE(in_contents, page.npos) << id;
    ASSERT_NE(in_page, page.npos) << id;
  }
}

TEST(ReportParts, CurvesHaveOneLineAGroup) {
  RunFolder run;
  fs::create_directories(run.path / "iter-01/ppo");
  write_file(run.path / "iter-01/ppo/metrics.jsonl",
             "{\"update\":1,\"score\":0.5,\"followed\":{\"short\":0.25,\"calm\":1}}\n"
             "{\"update\":2,\"score\":1.5,\"followed\":{\"short\":0.75}}\n");
  const std::string page = report_html(run.path, {{"state", "running"}}, ReportConfig{});
  const std::size_t score = page.find("ppo: score of the reward model"),
                    followed = page.find("ppo: followed");
  ASSERT_NE(score, page.npos);
  ASSERT_NE(followed, page.npos);
  EXPECT_NE(page.find("M58.0 196.0L470.0 14.0", score), page.npos) << "from 0.5 to 1.5, the axis' ends";
  EXPECT_NE(page.find("short</span>", followed), page.npos);
  EXPECT_NE(page.find("calm</span>", followed), page.npos);
}

}  // namespace
}  // namespace cai
