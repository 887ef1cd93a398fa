// The page shows what a model, a prompt or another's run folder holds, and does nothing that they say.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"
#include "cai/io/records.hpp"
#include "cai/stages/report.hpp"
#include "run_folder.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

const std::string kHostile =
    "</div><script>alert(1)</script><img src=x onerror=alert(2)>\"' onload='x' \x1b[31m\xe2\x80\xae\xc2\x9b";

TEST(Report, ShowsHostileTextAsText) {
  RunFolder run;
  const Json interval = {{"value", 0.5}, {"low", 0}, {"high", 1}, {"n", 3}};
  const auto answer = [](const std::string& model) {
    return Json{{"id", kHostile},        {"prompt", kHostile}, {"response", kHostile},
                {"model", model},        {"tags", {kHostile}}, {"checks", {{kHostile, kHostile}}},
                {"principle", kHostile}, {"must", kHostile},   {"finish", kHostile}};
  };
  run.stage("eval",
            {{"models", {kHostile, "b"}},
             {"measures", {{kHostile, {{kHostile, interval}, {"b", interval}}}}},
             {"differences", Json::object()},
             {"followed", {{kHostile, {{kHostile, interval}, {"b", interval}}}}},
             {"followed_differences", {{kHostile, {{"b", interval}}}}},
             {"text", {{kHostile, {{"distinct_2", kHostile}}}}},
             {"by_principle", {{kHostile, {{"b", interval}}}}},
             {"pairwise", {{kHostile, {{"win_rate", interval}, {"win_rate_at_equal_length", interval}}}}}},
            {answer(kHostile), answer("b")});
  run.stage("label", {{"decisions", {{kHostile, 2}}}, {"decided_by", {{kHostile, 2}}}, {"judged", 2}});
  write_file(run.path / "constitution.yaml",
             Json{{"name", "x"}, {"principles", {{{"id", "a"}, {"text", kHostile}}}}}.dump());
  fs::create_directories(run.path / "iter-01/ppo");
  write_file(run.path / "iter-01/ppo/metrics.jsonl", Json{{kHostile, {{kHostile, 1}}}}.dump() + "\n" +
                                                         Json{{kHostile, {{kHostile, 2}}}}.dump() + "\n");
  run.stage("exam",
            {{"sentence", kHostile},
             {"method", kHostile},
             {"judges", {{kHostile, {{"people", {{"accuracy", interval}, {"first_slot", interval}}}}}}}});
  run.stage("critique-1", {{"principles", {{kHostile, 3}}}});
  run.stage("revise-1", {{kHostile, kHostile}},
            {{{"id", kHostile},
              {"principle", kHostile},
              {"prompt", kHostile},
              {"response", kHostile},
              {"critique", kHostile},
              {"revision", kHostile},
              {"revision_problem", kHostile}},
             {{"id", 3}, {"principle", {1}}, {"prompt", nullptr}}});
  const Json facts = {
      {"state", kHostile}, {"stages", {{kHostile, {{"seconds", 1}}}}}, {kHostile, {kHostile}}};
  const std::string page = report_html(run.path, facts, ReportConfig{});
  const std::size_t script = page.find("<script");
  EXPECT_NE(script, page.npos);  // the page's own one
  EXPECT_EQ(page.find("<script", script + 1), page.npos);
  EXPECT_EQ(page.find("</script"), page.rfind("</script"));
  EXPECT_EQ(page.find("<img"), page.npos);
  EXPECT_EQ(page.find("' on"), page.npos);
  EXPECT_EQ(page.find("\" on"), page.npos);
  EXPECT_EQ(printable(page), page);
  EXPECT_NE(page.find("content=\"default-src 'none'; style-src 'sha256-"), page.npos);
  EXPECT_EQ(page.find("unsafe-inline"), page.npos);
  EXPECT_NE(page.find("&lt;script&gt;alert(1)"), page.npos);
}

TEST(Report, ShowsTheJudgesExamBeforeAndAfterFineTuning) {
  RunFolder run;
  const auto part = [](double accuracy) {
    return Json{{"accuracy", {{"value", accuracy}, {"low", 0}, {"high", 1}, {"n", 20}}},
                {"first_slot", {{"value", 0.75}, {"low", 0}, {"high", 1}, {"n", 40}}},
                {"calibration_error", 0.1}};
  };
  run.stage("exam", {{"sentence", "It passed."},
                     {"method", "choice"},
                     {"judges",
                      {{"after", {{"constitution", part(0.85)}, {"people", part(0.65)}}},
                       {"before", {{"constitution", part(0.45)}}}}}});
  const std::string page = report_html(run.path, Json::object(), ReportConfig{});
  const std::size_t before = page.find("before fine-tuning"), mine = page.find("45.0 %", before),
                    after = page.find("after fine-tuning", mine), later = page.find("85.0 %", after),
                    people = page.find("people&#39;s pairs", later);
  ASSERT_NE(page.find("65.0 %", people), page.npos);
  ASSERT_NE(before, page.npos);
  ASSERT_NE(people, page.npos);
  EXPECT_LT(before, after);
  EXPECT_LT(after, people);
}

TEST(Report, SaysWhatWasDone) {
  const auto page_with = [](const std::vector<std::string>& stages, const char* labels) {
    RunFolder run;
    for (const std::string& stage : stages)
      run.stage(stage, Json{{"method", labels}});
    return report_html(run.path, {{"state", "done"}}, ReportConfig{});
  };
  const std::string dpo = page_with({"critique-1", "sft", "label", "dpo"}, "contrast"),
                    reward = page_with({"sft", "label", "reward"}, "choice"),
                    ppo = page_with({"sft", "label", "reward", "ppo"}, "choice");
  EXPECT_NE(dpo.find("direct preference optimisation"), dpo.npos);
  EXPECT_EQ(dpo.find("einforcement learning"), dpo.npos);
  EXPECT_NE(dpo.find("labelled by the kind of the request"), dpo.npos);
  EXPECT_NE(reward.find("no reinforcement learning followed"), reward.npos);
  EXPECT_NE(reward.find("labelled by a judging model"), reward.npos);
  EXPECT_NE(ppo.find("by reinforcement learning (PPO)"), ppo.npos);
  EXPECT_EQ(reward.find("criticised"), reward.npos);
}

TEST(Report, BeginsWithGatesVerdictAndWarnings) {
  RunFolder run;
  const auto interval = [](double value, double low, double high) {
    return Json{{"value", value}, {"low", low}, {"high", high}, {"n", 60}};
  };
  Json change = interval(-0.58, -0.70, -0.43), none = interval(0.02, -0.05, 0.1),
       several = interval(0.2, 0.01, 0.35);
  change["mcnemar_p"] = 1e-9, change["holm_p"] = 1e-8;
  none["mcnemar_p"] = 1, none["holm_p"] = 1;
  several["mcnemar_p"] = 0.03, several["holm_p"] = 0.4;
  Json same = {{"value", 48}, {"low", nullptr}, {"high", nullptr}, {"n", 60}};
  run.stage(
      "eval",
      {{"models", {"base", "mine"}},
       {"tests", 3},
       {"measures",
        {{"attack_success", {{"base", interval(0.83, 0.72, 0.91)}, {"mine", interval(0.25, 0.16, 0.37)}}},
         {"over_refusal", {{"base", interval(0, 0, 0.06)}, {"mine", interval(0.02, 0, 0.09)}}},
         {"refusal_ordinary", {{"base", interval(0, 0, 0.06)}, {"mine", interval(0.2, 0.1, 0.3)}}},
         {"length", {{"base", same}, {"mine", same}}}}},
       {"differences",
        {{"attack_success", {{"mine", change}}},
         {"over_refusal", {{"mine", none}}},
         {"refusal_ordinary", {{"mine", several}}},
         {"length", {{"mine", same}}}}},
       {"language", {{"mine", {{"english", 0.1}, {"n", 50}}}}}});
  run.stage("reward", {{"doubts", {"not better than chance on ordinary prompts"}}});
  const std::string page = report_html(
      run.path, {{"state", "done"}, {"failed_gates", {"attack_success <= 20%: 0.25 against 0.2"}}},
      ReportConfig{});
  std::size_t at = 0;
  for (const char* words :
       {"Failed gates", "attack_success &lt;= 20%",
        "mine against base: better on harmful requests complied with (83 % -&gt; 25 %); nothing measured "
        "became "
        "worse",
        "Do not use this model", "reward: not better than chance on ordinary prompts.",
        "10 % of 50 answers look English", "Harmful requests complied with",
        "mine: 25 %, -58 [-70, -43], better", "mine: 2 %, +2 [-5, +10]<", "mine: 20 %, +20 [+1, +35]<",
        "<b>-58 pt", "(Holm 1e-08)", "all the same", "Who decided what"}) {
    const std::size_t found = page.find(words, at);
    ASSERT_NE(found, page.npos) << words;
    at = found;
  }
}

TEST(Report, OfARunInProgressShowsWhatIsFinished) {
  RunFolder run;
  run.stage("generate", {{"records", 3}});
  fs::create_directories(run.path / "iter-01/sft");
  write_file(run.path / "iter-01/sft/metrics.jsonl",
             "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":2.25}\n{\"step\":3,\"lo");
  const std::string page = report_html(run.path, {{"state", "running"}}, ReportConfig{});
  EXPECT_NE(page.find("State: running."), page.npos);
  EXPECT_NE(page.find("sft: loss"), page.npos);
}

TEST(Report, ADamagedRunIsBadInput) {
  for (const Json& eval :
       {Json{{"measures", 3}}, Json{{"measures", {{"a", 1}}}, {"models", Json::array({1})}},
        Json{{"measures", {{"a", Json::object()}}}, {"models", {"b"}}},
        Json{{"measures", Json::object()}, {"models", {"b"}}, {"pairwise", {{"b", 3}}}}}) {
    RunFolder run;
    run.stage("eval", eval);
    try {
      report_html(run.path, Json::object(), ReportConfig{});
      ADD_FAILURE() << eval;
    } catch (const InputError& e) {
      EXPECT_NE(std::string(e.what()).find("not of the expected form"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace cai
