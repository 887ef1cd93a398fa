// A guard's training on states with a known truth: what it learns, what it promises, what decides its bits.
#include <gtest/gtest.h>

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"
#include "cai/stages/guard_fit.hpp"
#include "cai/stages/guard_train.hpp"

namespace cai {
namespace {

constexpr std::size_t kWidth = 6;

Constitution rules() {
  Constitution c;
  for (const char* id : {"first", "second", "rare"})
    c.principles.push_back({.id = id, .text = std::string("Rule ") + id + "."});
  return c;
}

// Windows of noise; where `axis` is none, one window far out along it.
std::vector<float> windows_of(Random random, int axis, std::size_t windows) {
  std::vector<float> all;
  const std::size_t special = random.below(windows);
  for (std::size_t w = 0; w < windows; ++w)
    for (std::size_t k = 0; k < kWidth; ++k)
      all.push_back(
          static_cast<float>(random.normal() + (w == special && static_cast<int>(k) == axis ? 4 : 0)));
  return all;
}

// Exchanges that go against "first" (axis 0), "second" (axis 1), a few against "rare", and harmless ones.
std::vector<GuardRow> rows_of(long harmless, std::uint64_t seed) {
  std::vector<GuardRow> rows;
  const auto add = [&](long i, const std::string& kind, int violates, const std::string& principle,
                       int axis) {
    const std::string prompt = kind + principle + std::to_string(i);
    Random random = Random(seed).derive(prompt);
    rows.push_back({{.prompt = prompt,
                     .answer = "a",
                     .kind = kind,
                     .group = "topic " + std::to_string(i % 17),
                     .source = "revision",
                     .violates = violates,
                     .principle = principle},
                    windows_of(random, axis, 1 + static_cast<std::size_t>(i) % 5)});
  };
  for (long i = 0; i < 80; ++i)
    add(i, "red-team", 1, "first", 0), add(i, "red-team", 1, "second", 1);
  for (long i = 0; i < 10; ++i)
    add(i, "red-team", 1, "rare", 0);
  for (long i = 0; i < harmless; ++i)
    add(i, i % 2 ? "ordinary" : "borderline", 0, "", -1);
  return rows;
}

GuardParts train(std::vector<GuardRow> rows, const GuardSettings& settings = {}) {
  return train_guard(std::move(rows), kWidth, rules(), settings, [](const Progress&) {});
}

const GuardHead* head(const GuardParts& parts, const std::string& name) {
  for (const GuardHead& h : parts.exchanges)
    if (h.name == name) return &h;
  return nullptr;
}

TEST(GuardTraining, LearnsHeadsWhereThereAreEnoughExamples) {
  const GuardParts parts = train(rows_of(300, 1));
  ASSERT_TRUE(head(parts, "violates") && head(parts, "first") && head(parts, "second"));
  EXPECT_EQ(head(parts, "rare"), nullptr);
  EXPECT_EQ(parts.facts["figures"]["too_few"]["rare"], 10);
  EXPECT_GT(head(parts, "violates")->figures["auc"]["value"], 0.9);
  EXPECT_GT(head(parts, "first")->figures["auc"]["value"], 0.9);
  EXPECT_GT(parts.facts["figures"]["attribution"]["value"], 0.9);
  EXPECT_TRUE(parts.requests.empty());
}

TEST(GuardTraining, ItsPromiseHoldsOnOthers) {
  const GuardParts parts = train(rows_of(400, 2), {.false_positives = 0.05});
  const Json& figures = parts.facts["figures"]["violates"];
  ASSERT_TRUE(figures["is_promised"]);
  EXPECT_LE(figures["bound"], 0.05);
  EXPECT_LE(parts.doubtful, parts.threshold);
  long flagged = 0;
  const std::vector<GuardRow> others = rows_of(4000, 3);
  for (const GuardRow& row : others)
    flagged += row.example.violates == 0 && head(parts, "violates")->score(row.windows) > parts.threshold;
  EXPECT_LE(flagged, 4000 * 0.05);
}

TEST(GuardTraining, PromisesNothingThatTooFewPromptsCannotShow) {
  const Json figures = train(rows_of(60, 4), {.false_positives = 0.01}).facts["figures"]["violates"];
  EXPECT_FALSE(figures["is_promised"]);
  EXPECT_EQ(figures["flagged"], 0);
  EXPECT_EQ(figures["missing"], 299 - 60);
  EXPECT_NEAR(figures["bound"].get<double>(), 0.0487, 1e-3);
}

TEST(GuardTraining, TheOrderOfItsRowsChangesNoBit) {
  std::vector<GuardRow> rows = rows_of(120, 5), mixed;
  for (const std::size_t i : Random(9).permutation(rows.size()))
    mixed.push_back(rows[i]);
  const GuardParts a = train(rows), b = train(mixed);
  EXPECT_EQ(a.threshold, b.threshold);
  ASSERT_EQ(a.exchanges.size(), b.exchanges.size());
  for (std::size_t i = 0; i < a.exchanges.size(); ++i) {
    EXPECT_EQ(a.exchanges[i].weights, b.exchanges[i].weights);
    EXPECT_EQ(a.exchanges[i].bias, b.exchanges[i].bias);
    EXPECT_EQ(a.exchanges[i].calibration.x, b.exchanges[i].calibration.x);
  }
  EXPECT_EQ(a.facts.dump(), b.facts.dump());
}

TEST(GuardTraining, RefusesWhatTeachesNothing) {
  std::vector<GuardRow> rows = rows_of(100, 6);
  std::erase_if(rows, [](const GuardRow& row) { return row.example.violates == 1; });
  EXPECT_THROW(train(std::move(rows)), InputError);
}

TEST(GuardWindows, CoverEveryPositionAndEndWithTheText) {
  for (const std::int64_t positions : {1, 15, 16, 17, 24, 25, 100}) {
    std::vector<float> states;
    for (std::int64_t p = 0; p < positions; ++p)
      states.push_back(static_cast<float>(p));
    const std::vector<float> means = window_means(states, 1);
    const std::int64_t last = std::min(positions, kGuardWindow);
    EXPECT_EQ(means.front(), static_cast<float>(last - 1) / 2);
    EXPECT_EQ(means.back(), static_cast<float>(positions - 1) - static_cast<float>(last - 1) / 2);
    EXPECT_EQ(static_cast<std::int64_t>(means.size()), positions <= 16 ? 1 : 1 + (positions - 16 + 7) / 8);
  }
}

}  // namespace
}  // namespace cai
