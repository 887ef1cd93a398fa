// The same answers by other constitutions' checks.
#include "cai/stages/other_rules.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "cai/base/error.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

Constitution of(const std::string& yaml) {
  const fs::path file = fs::temp_directory_path() / ("cai-rules-" + std::to_string(::getpid()) + ".yaml");
  write_file(file, yaml);
  Constitution c = read_constitution(file);
  fs::remove(file);
  return c;
}

// Twenty prompts on pears, twenty on plums; the last model names pears where they are asked for.
std::vector<Json> records() {
  std::vector<Json> all;
  for (const char* model : {"base", "sl-cai", "rl-cai"}) {
    for (int i = 0; i < 40; ++i) {
      const std::string topic = i < 20 ? "pears" : "plums";
      const bool names = std::string(model) == "rl-cai" && i < 20;
      all.push_back({{"id", std::to_string(i)},
                     {"prompt", "Which fruit is number " + std::to_string(i) + "?"},
                     {"tags", {"ordinary", topic}},
                     {"model", model},
                     {"response", names ? "It is a pear!" : "It is a fruit."},
                     {"checks", {{"stale", ""}}}});
    }
    all.push_back({{"id", "test:1"}, {"prompt", "x"}, {"must", "help"}, {"model", model}, {"response", "y"}});
    all.push_back(
        {{"id", "s"}, {"prompt", "x"}, {"suite", "attack"}, {"model", model}, {"response", "pear"}});
  }
  return all;
}

const char* const kOwn = R"(principles:
  - {id: pear, text: Name a pear., applies_to: [pears], check: [{contains: pear}]}
  - {id: calm, text: Write without exclamation marks., applies_to: [plums]}
)";

TEST(OtherRules, AnswersAreScoredByTheChecksThatAreNamed) {
  const Json own = followed_under(of(kOwn), records(), 500, 1);
  EXPECT_EQ(own["prompts"], 40);
  EXPECT_EQ(own["followed"]["pear"]["base"]["value"], 0.0);
  EXPECT_EQ(own["followed"]["pear"]["rl-cai"]["value"], 1.0);
  EXPECT_EQ(own["followed"]["pear"]["rl-cai"]["n"], 20);  // neither tests nor suites
  EXPECT_NEAR(own["mean"]["base"]["value"].get<double>(), 0.5, 1e-9);
  EXPECT_NEAR(own["mean_differences"]["rl-cai"]["value"].get<double>(), 0.5, 1e-9);
  EXPECT_GT(own["mean_differences"]["rl-cai"]["low"].get<double>(), 0.3);
  EXPECT_NEAR(own["mean_last_step"]["value"].get<double>(), 0.5, 1e-9);
  const Json other = followed_under(of("- Write without exclamation marks.\n"), records(), 500, 1);
  EXPECT_EQ(other["followed"]["p1"]["base"]["value"], 1.0);
  EXPECT_EQ(other["followed"]["p1"]["rl-cai"]["value"], 0.5);
  EXPECT_FALSE(other["followed"].contains("stale"));
}

TEST(OtherRules, ShuffledPrinciplesAreAppliedToOtherPrompts) {
  const Constitution c = shuffled(of(kOwn));
  EXPECT_EQ(c.principle("pear").applies_to, std::vector<std::string>{"plums"});
  EXPECT_EQ(c.principle("calm").applies_to, std::vector<std::string>{"pears"});
  const Json figures = followed_under(c, records(), 500, 1);
  EXPECT_EQ(figures["followed"]["pear"]["rl-cai"]["value"], 0.0);
  EXPECT_EQ(figures["followed"]["calm"]["rl-cai"]["value"], 0.0);
  EXPECT_NEAR(figures["mean_differences"]["rl-cai"]["value"].get<double>(), -0.5, 1e-9);
}

TEST(OtherRules, WhatCannotBeScoredIsSaid) {
  EXPECT_THROW(followed_under(of("- Be kind to everyone.\n"), records(), 500, 1), InputError);
  EXPECT_THROW(shuffled(of("- Write without commas.\n- Answer in at most two sentences.\n")), InputError);
}

}  // namespace
}  // namespace cai
