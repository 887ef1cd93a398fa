// Lint, diff, and how several principles become one preference.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <filesystem>
#include <set>
#include <tuple>

#include "cai/data/constitution_diff.hpp"
#include "cai/data/coverage.hpp"
#include "cai/data/lint.hpp"
#include "cai/data/preference.hpp"

namespace cai {
namespace {

const std::filesystem::path kRoot = CAI_SOURCE_DIR;

Constitution of(std::vector<Principle> principles, const std::string& version = "1.2.3") {
  Constitution c{.name = "x", .version = version};
  int line = 0;
  for (Principle& p : principles) {
    p.line = ++line;
    if (p.id.empty()) p.id = "p" + std::to_string(line);
    c.principles.push_back(with_wordings(std::move(p)));
  }
  c.system = derived_system(c);
  return c;
}

std::vector<Remark> of_kind(const Constitution& c, const std::string& kind) {
  std::vector<Remark> found;
  for (const Remark& r : lint(c))
    if (r.kind == kind) found.push_back(r);
  return found;
}

const std::vector<PrincipleTest> kTests = {{"How?", "refuse", {}}, {"Why?", "help", {}}};

TEST(Lint, FindsEachKindOfProblemOnItsLineAndNothingInSoundPrinciples) {
  EXPECT_TRUE(
      lint(of({{.text = "Answer the question that was asked in the first sentence.", .tests = kTests}}))
          .empty());
  const Constitution c =
      of({{.text = "Name the source of every medical claim.", .tests = kTests},
          {.text = "name the SOURCE of every medical claim", .tests = kTests},
          {.text = "Never name the source of a medical claim.", .tests = kTests},
          {.text = "Name the source of each medical claim.", .tests = kTests},
          {.text = "Write appropriate replies to all customers.", .tests = kTests},
          {.text = "Greet the customer by name, and offer a refund.", .tests = {{"How?", "refuse", {}}}},
          {.text = "Be brief."},
          {.text = std::string(500, 'x') +
                   [] {
                     std::string s;
                     for (int i = 0; i < 90; ++i)
                       s += " word" + std::to_string(i);
                     return s;
                   }(),
           .tests = kTests}});
  const auto lines = [&](const std::string& kind) {
    std::vector<int> found;
    for (const Remark& r : of_kind(c, kind))
      found.push_back(r.line);
    return found;
  };
  EXPECT_EQ(lines("duplicate"), std::vector<int>{2});
  EXPECT_EQ(lines("contradiction"), (std::vector<int>{3, 3, 4}));  // 3 against 1 and 2, 4 against 3
  EXPECT_EQ(lines("near-duplicate"), (std::vector<int>{4, 4}));
  EXPECT_EQ(lines("vague"), std::vector<int>{5});
  EXPECT_EQ(lines("two-duties"), std::vector<int>{6});
  EXPECT_EQ(lines("one-sided-tests"), std::vector<int>{6});
  EXPECT_EQ(lines("negative"), std::vector<int>{3});
  EXPECT_EQ(lines("no-tests"), std::vector<int>{7});
  EXPECT_EQ(lines("too-short"), std::vector<int>{7});
  EXPECT_EQ(lines("too-long"), std::vector<int>{8});
}

TEST(Lint, WhatAProgramVerifiesNeedsNoJudge) {
  Principle p{
      .text = "Do not use commas, and keep the answer calm.", .applies_to = {"ordinary"}, .tests = kTests};
  std::set<std::string> kinds;
  for (const Remark& r : lint(of({p})))
    kinds.insert(r.kind);
  EXPECT_EQ(kinds, (std::set<std::string>{"negative", "trains-nothing", "two-duties"}));
  p.check.rules.push_back({.kind = AnswerRuleKind::kWords});
  EXPECT_TRUE(lint(of({p})).empty());
}

TEST(Coverage, CountsThePromptsThatMeetEachPrinciple) {
  const Constitution c =
      of({{.text = "Decline fraud.", .applies_to = {"fraud"}},
          {.text = "Be of use.", .applies_to = {"ordinary"}},
          {.text = "Be brief here.", .check = {.rules = {{.kind = AnswerRuleKind::kWords}}}},
          {.text = "Meets nobody.", .applies_to = {"nothing"}}});
  const std::vector<Coverage> all =
      coverage(c, {{.text = "a", .tags = {"red-team", "fraud"}, .split = "train"},
                   {.text = "b", .tags = {"ordinary"}, .split = "held-out"},
                   {.text = "c", .split = "train"}});
  ASSERT_EQ(all.size(), 4u);
  const auto row = [&](std::size_t i) {
    return std::tuple(all[i].decided_by(), all[i].train, all[i].held_out);
  };
  EXPECT_EQ(row(0), std::tuple("judge", 2L, 0L));  // an untagged prompt meets every principle that is judged
  EXPECT_EQ(row(1), std::tuple("judge", 1L, 1L));
  EXPECT_EQ(row(2), std::tuple("check", 2L, 1L));
  EXPECT_EQ(row(3), std::tuple("judge", 1L, 0L));
  EXPECT_EQ(coverage(c, {{.text = "a", .tags = {"red-team", "fraud"}, .split = "train"}})[0].decided_by(),
            "kind");
}

TEST(Lint, ExamplesThatFillTheContextAreAProblem) {
  Constitution c = of({{.text = "Answer the question that was asked first.", .tests = kTests}});
  c.label_examples.push_back({std::string(9000, 'x'), "a", "b", "A", "because"});
  ASSERT_EQ(lint(c).size(), 1u);
  EXPECT_EQ(lint(c)[0].kind, "too-long");
  EXPECT_TRUE(lint(c)[0].is_problem);
}

TEST(Lint, TheShippedConstitutionsHaveNoProblems) {
  for (const auto& entry : std::filesystem::directory_iterator(kRoot / "constitutions")) {
    for (const Remark& r : lint(read_constitution(entry.path())))
      EXPECT_FALSE(r.is_problem) << entry.path() << ":" << r.line << " " << r.principle << " " << r.text;
  }
}

TEST(Diff, SaysWhatHappenedToEachPrincipleAndWhatTheVersionShouldBe) {
  const Constitution before = of({{.id = "kind", .text = "Be kind to everyone."},
                                  {.id = "brief", .text = "Answer in one sentence."},
                                  {.id = "gone", .text = "Sign with your name."}});
  const Constitution same = diff(before, before).level == "none" ? before : Constitution();
  EXPECT_FALSE(same.principles.empty());

  Constitution tests = before;
  tests.principles[0].tests = kTests;
  EXPECT_EQ(diff(before, tests).level, "patch");
  EXPECT_EQ(diff(before, tests).suggested, "1.2.4");
  EXPECT_FALSE(diff(before, tests).is_followed);
  tests.version = "1.3.0";
  EXPECT_TRUE(diff(before, tests).is_followed);

  const Constitution added = of({{.id = "kind", .text = "Be kind to everyone."},
                                 {.id = "brief", .text = "Answer in one sentence."},
                                 {.id = "gone", .text = "Sign with your name."},
                                 {.id = "new", .text = "Cite a source."}},
                                "1.3.0");
  EXPECT_EQ(diff(before, added).level, "minor");
  ASSERT_EQ(diff(before, added).principles.size(), 1u);
  EXPECT_EQ(diff(before, added).principles[0].kind, "added");
  EXPECT_TRUE(diff(before, added).is_followed);

  const Constitution after = of({{.id = "kind", .text = "Be kind to everybody here."},
                                 {.id = "brief", .text = "Answer in one sentence.", .priority = 2}},
                                "1.3.0");
  const ConstitutionDiff d = diff(before, after);
  EXPECT_EQ(d.suggested, "2.0.0");
  EXPECT_FALSE(d.is_followed);
  ASSERT_EQ(d.principles.size(), 3u);
  EXPECT_EQ(d.principles[0].kind, "removed");
  EXPECT_EQ(d.principles[1].words, "Be kind to [-everyone.-] {+everybody here.+}");
  EXPECT_EQ(d.principles[1].fields.size(), 1u) << "derived wordings are not told again";
  EXPECT_EQ(d.principles[2].fields, std::vector<std::string>{"priority 1 -> 2"});
}

TEST(Diff, ASentencePutInFrontOfAPlainListIsOneAddition) {
  const ConstitutionDiff d = diff(of({{.text = "Be kind."}, {.text = "Be brief."}}),
                                  of({{.text = "Be honest."}, {.text = "Be kind."}, {.text = "Be brief."}}));
  ASSERT_EQ(d.principles.size(), 1u);
  EXPECT_EQ(d.principles[0].kind, "added");
  EXPECT_EQ(d.level, "minor");
}

// Both texts can be read off a word diff.
RC_GTEST_PROP(Diff, WordDiffHoldsBothTexts, (std::vector<bool> x, std::vector<bool> y)) {
  const auto text = [](const std::vector<bool>& bits) {
    std::string s;
    for (const bool b : bits)
      s += (s.empty() ? "" : " ") + std::string(b ? "one" : "two");
    return s;
  };
  const auto side = [&](std::string d, const std::string& drop, const std::string& drop_end,
                        const std::string& keep, const std::string& keep_end) {
    for (std::size_t at; (at = d.find(drop)) != d.npos;)
      d.erase(at, d.find(drop_end, at) + drop_end.size() - at);
    for (const std::string& mark : {keep, keep_end})
      for (std::size_t at; (at = d.find(mark)) != d.npos;)
        d.erase(at, mark.size());
    std::string folded;
    for (const char c : d)
      if (c != ' ' || (!folded.empty() && folded.back() != ' ')) folded += c;
    while (!folded.empty() && folded.back() == ' ')
      folded.pop_back();
    return folded;
  };
  const std::string d = word_diff(text(x), text(y));
  RC_ASSERT(side(d, "{+", "+}", "[-", "-]") == text(x));
  RC_ASSERT(side(d, "[-", "-]", "{+", "+}") == text(y));
}

TEST(Preference, IsTheWeightedMeanUntilAHigherTierClearlyObjects) {
  const Principle high{.id = "high", .priority = 1, .weight = 1},
      low{.id = "low", .priority = 2, .weight = 5},
      hard{.id = "hard", .priority = 9, .weight = 1, .hard = true};
  const auto odds = [](std::vector<View> views) { return prefer(views); };
  EXPECT_NEAR(odds({{&high, 1}, {&low, 2}}).log_odds, 11.0 / 6, 1e-12);
  EXPECT_FALSE(odds({{&high, 1}, {&low, 2}}).by_rank);
  EXPECT_EQ(odds({{&high, 1}, {&low, 2}}).decisive, &low);
  EXPECT_NEAR(odds({{&high, -0.3}, {&low, 2}}).log_odds, (5 * 2 - 0.3) / 6, 1e-12)
      << "an unclear view does not overrule";
  EXPECT_NEAR(odds({{&high, -0.5}, {&low, 2}}).log_odds, -0.5, 1e-12);
  EXPECT_TRUE(odds({{&high, -0.5}, {&low, 2}}).by_rank);
  EXPECT_EQ(odds({{&high, -0.5}, {&low, 2}}).decisive, &high)
      << "the reason cites a principle of the side that won";
  EXPECT_EQ(odds({{&low, 2}, {&high, 1}, {&hard, -1}}).decisive, &hard);
  EXPECT_EQ(odds({}).decisive, nullptr);
}

TEST(Conflicts, AreCountedWithWhoGoesFirstAndWhoWon) {
  const Constitution c = of({{.id = "helpful", .text = "Help.", .priority = 3},
                             {.id = "safe", .text = "Be safe.", .priority = 1},
                             {.id = "kind", .text = "Be kind.", .priority = 3}});
  const auto label = [](const char* id, double p, double helpful, double safe) {
    return Json{{"id", id}, {"p", p}, {"log_odds", {{"helpful", helpful}, {"safe", safe}}}};
  };
  const std::vector<Conflict> found =
      conflicts(c, {label("1", 0.9, 2, -2), label("2", 0.2, 2, -2), label("3", 0.9, 2, 2),
                    label("4", 0.5, -1, 1), label("5", 0.9, 2, -0.1),
                    Json{{"id", "6"}, {"p", 0.9}, {"log_odds", {{"kind", 2.0}}}}, Json{{"id", "7"}}});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].x, "safe");
  EXPECT_EQ(found[0].y, "helpful");
  EXPECT_EQ(found[0].rank, 1);
  EXPECT_EQ(found[0].together, 5);
  EXPECT_EQ(found[0].apart, 3);
  EXPECT_EQ(found[0].won_x, 1);
  EXPECT_EQ(found[0].won_y, 1);
  EXPECT_EQ(found[0].ids, (std::vector<std::string>{"1", "2", "4"}));
}

}  // namespace
}  // namespace cai
