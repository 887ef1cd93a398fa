// Two runs on one page: paired by prompt, under the same checks.
#include "cai/stages/report_compare.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include "cai/base/error.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/io/records.hpp"
#include "cai/stages/run_settings.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConstitution =
    "name: style\nprinciples:\n  - id: calm\n    text: Write without exclamation marks.\n"
    "    check:\n      - avoids_pattern: '!'\n";

struct TwoRuns : testing::Test {
  fs::path folder = fs::temp_directory_path() / ("cai-compare-" + std::to_string(getpid()));
  void SetUp() override { fs::create_directories(folder); }
  void TearDown() override { fs::remove_all(folder); }

  // A run whose model ends answers (but the first few) with `mark`; its records claim the opposite of the
  // check.
  fs::path run(const std::string& name, const std::string& mark, const std::string& settings, int from = 0) {
    const fs::path run = folder / name;
    fs::create_directories(run / "iter-01");
    write_file(run / "config.yaml", settings);
    write_file(run / "constitution.yaml", kConstitution);
    write_sealed(run / "run.json", {{"state", "done"}, {"seed", 1}, {"model", {{"name", "tiny"}}}});
    RecordWriter writer(run / "iter-01/eval", "eval", "key");
    std::size_t at = 0;
    for (const char* model : {"base", "last"})
      for (int i = from; i < from + 40; ++i)
        writer.write(at++, {{"id", "p" + std::to_string(i)},
                            {"prompt", "Question " + std::to_string(i)},
                            {"tags", Json::array()},
                            {"model", model},
                            {"response", "An answer" + (i < 15 ? "." : mark)},
                            {"finish", "stop"},
                            {"tokens", 3},
                            {"refusal", false},
                            {"checks", {{"calm", mark == "!" ? "" : "broken"}}}});
    writer.finish({{"models", {"base", "last"}}, {"measures", Json::object()}}, 1);
    return run;
  }
};

TEST_F(TwoRuns, ArePairedByPromptUnderTheSecondOnesChecks) {
  const fs::path loud = run("loud", "!", "ppo:\n  updates: 3\nseed: 1\n"),
                 calm = run("calm", ".", "ppo:\n  updates: 9\nseed: 1\n", 10);
  ReportConfig all;
  all.examples = 100;
  const std::string page = compare_html(loud, calm, EvalConfig{}, all);
  for (const char* words :
       {"loud and calm compared",
        "calm against loud: better on principles followed, by their checks (17 % -&gt; 100 %)",
        "to the 30 held-out prompts", "Follows &quot;calm&quot;", "calm: 100 %, +83 [", ", better",
        "ppo.updates", "Question 10", "An answer!", "An answer."})
    EXPECT_NE(page.find(words), page.npos) << words;
  EXPECT_EQ(page.find("Question 49"), page.npos) << "only the second run was asked it";
  EXPECT_EQ(page.find("<td>seed"), page.npos) << "the seeds are the same";
}

TEST_F(TwoRuns, WithoutACommonPromptOrAnEvaluationAreBadInput) {
  const fs::path first = run("first", "!", "seed: 1\n"), second = run("second", ".", "seed: 1\n", 100);
  EXPECT_THROW(compare_html(first, second, EvalConfig{}, ReportConfig{}), InputError);
  fs::remove_all(second / "iter-01");
  EXPECT_THROW(compare_html(first, second, EvalConfig{}, ReportConfig{}), InputError);
}

TEST_F(TwoRuns, DifferInWhatTheirFilesSay) {
  const fs::path first = run("first", "!", "out: a\neval: {suites: [x, y], ordinary: 3}\n"),
                 second = run("second", "!", "out: b\neval: {suites: [x], ordinary: 3}\nnew: 1\n");
  const std::vector<Difference> found = setting_differences(first, second);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].name, "eval.suites");
  EXPECT_EQ(found[0].first, "x, y");
  EXPECT_EQ(found[0].second, "x");
  EXPECT_EQ(found[1].name, "new");
  EXPECT_EQ(found[1].first, "");
  EXPECT_TRUE(setting_differences(first, first).empty());
  write_file(second / "config.yaml", "a: [");
  EXPECT_THROW(setting_differences(first, second), InputError);
}

}  // namespace
}  // namespace cai
