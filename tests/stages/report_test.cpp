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

namespace cai {
namespace {

namespace fs = std::filesystem;

struct RunFolder {
  fs::path path = fs::temp_directory_path() / ("cai-report-" + std::to_string(getpid()));
  RunFolder() { fs::create_directories(path / "iter-01"); }
  ~RunFolder() { fs::remove_all(path); }
  void stage(const std::string& name, const Json& figures, const std::vector<Json>& records = {}) const {
    RecordWriter writer(path / "iter-01" / name, name, "key");
    for (std::size_t i = 0; i < records.size(); ++i) writer.write(i, records[i]);
    writer.finish(figures, 1);
  }
};

const std::string kHostile = "</div><script>alert(1)</script><img src=x onerror=alert(2)>\"' onload='x' \x1b[31m\xe2\x80\xae\xc2\x9b";

TEST(Report, ShowsHostileTextAsText) {
  RunFolder run;
  const Json interval = {{"value", 0.5}, {"low", 0}, {"high", 1}, {"n", 3}};
  run.stage("eval", {{"models", {kHostile, "b"}}, {"measures", {{kHostile, {{kHostile, interval}, {"b", interval}}}}}, {"differences", Json::object()}, {"text", {{kHostile, {{"distinct_2", kHostile}}}}},
                     {"by_principle", {{kHostile, {{"b", interval}}}}}, {"pairwise", {{kHostile, {{"win_rate", interval}, {"win_rate_at_equal_length", interval}}}}}});
  run.stage("exam", {{"sentence", kHostile}, {"method", kHostile}, {"judges", {{kHostile, {{"people", {{"accuracy", interval}, {"first_slot", interval}}}}}}}});
  run.stage("critique-1", {{"principles", {{kHostile, 3}}}});
  run.stage("revise-1", {{kHostile, kHostile}}, {{{"id", kHostile}, {"principle", kHostile}, {"prompt", kHostile}, {"response", kHostile}, {"critique", kHostile}, {"revision", kHostile}, {"revision_problem", kHostile}},
                                                {{"id", 3}, {"principle", {1}}, {"prompt", nullptr}}});
  const Json facts = {{"state", kHostile}, {"stages", {{kHostile, {{"seconds", 1}}}}}, {kHostile, {kHostile}}};
  const std::string page = report_html(run.path, facts, ReportConfig{});
  EXPECT_EQ(page.find("<script"), page.npos);
  EXPECT_EQ(page.find("<img"), page.npos);
  EXPECT_EQ(page.find("' on"), page.npos);
  EXPECT_EQ(page.find("\" on"), page.npos);
  EXPECT_EQ(printable(page), page);
  EXPECT_NE(page.find("default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"), page.npos);
  EXPECT_NE(page.find("&lt;script&gt;alert(1)"), page.npos);
}

TEST(Report, ShowsTheJudgesExamBeforeAndAfterFineTuning) {
  RunFolder run;
  const auto part = [](double accuracy) { return Json{{"accuracy", {{"value", accuracy}, {"low", 0}, {"high", 1}, {"n", 20}}}, {"first_slot", {{"value", 0.75}, {"low", 0}, {"high", 1}, {"n", 40}}}, {"calibration_error", 0.1}}; };
  run.stage("exam", {{"sentence", "It passed."}, {"method", "choice"}, {"judges", {{"after", {{"constitution", part(0.85)}, {"people", part(0.65)}}}, {"before", {{"constitution", part(0.45)}}}}}});
  const std::string page = report_html(run.path, Json::object(), ReportConfig{});
  const std::size_t before = page.find("before fine-tuning</td><td class=n>45.0 %"), after = page.find("after fine-tuning</td><td class=n>85.0 %"), people = page.find("people&#39;s pairs</td><td>after fine-tuning</td><td class=n>65.0 %");
  ASSERT_NE(before, page.npos);
  ASSERT_NE(people, page.npos);
  EXPECT_LT(before, after);
  EXPECT_LT(after, people);
}

TEST(Report, ADamagedRunIsBadInput) {
  for (const Json& eval : {Json{{"measures", 3}}, Json{{"measures", {{"a", 1}}}, {"models", Json::array({1})}}, Json{{"measures", {{"a", Json::object()}}}, {"models", {"b"}}},
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
