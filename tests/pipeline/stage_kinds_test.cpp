// Every row of the table of stages has what the plan, the keys, the run and the estimates need of it.
#include "cai/pipeline/stage_kinds.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "cai/base/error.hpp"
#include "cai/config/field.hpp"
#include "cai/pipeline/plan.hpp"

namespace cai {
namespace {

bool is_section(const std::string& name) {
  const std::vector<Field>& fields = config_fields();
  return std::any_of(fields.begin(), fields.end(), [&](const Field& field) { return field.section == name; });
}

/// Configs in which the stages differ: by method, judge, rounds, people's pairs and generated prompts.
std::vector<Config> configs() {
  std::vector<Config> all(8);
  all[1].method = "dpo";
  all[2].ppo.updates = 0;
  all[3].revise.rounds = 0;
  all[4].revise.rounds = 3;
  all[5].label.feedback = "http://127.0.0.1:1/v1";
  all[6].hybrid.pairs = {"pairs.jsonl"};
  all[7].prompts.expand = 5;
  for (Config& config : all)
    config.iterations = 2;
  return all;
}

RunInputs inputs_with(const Config& config) {
  RunInputs inputs{.config = config};
  inputs.model_sha256 = "the model";
  inputs.constitution.sha256 = "the constitution";
  inputs.parameters = 1e8;
  inputs.architecture.layers = 12;
  inputs.prompt_files = {{"prompts.jsonl", "the prompts", 2}};
  inputs.prompts = {{.id = "a", .text = "How?", .tags = {"red-team"}, .split = "train"},
                    {.id = "b", .text = "Why?", .tags = {}, .split = "train"}};
  return inputs;
}

TEST(StageKinds, HaveNamesOfTheirOwn) {
  std::set<std::string> names;
  for (const StageKind& kind : stage_kinds())
    EXPECT_TRUE(names.insert(kind.name).second) << kind.name;
  EXPECT_EQ(names.size(), 12u);
  EXPECT_FALSE(names.contains(kPolicy));
  EXPECT_THROW(stage_kind("polish"), Bug);
}

TEST(StageKinds, HaveSectionsThatTheConfigDeclares) {
  for (const Config& config : configs()) {
    for (const StageKind& kind : stage_kinds()) {
      ASSERT_NE(kind.sections, nullptr) << kind.name;
      const std::vector<std::string> sections = kind.sections(config);
      EXPECT_FALSE(sections.empty()) << kind.name;
      for (const std::string& section : sections)
        EXPECT_TRUE(is_section(section)) << kind.name << ": " << section;
    }
  }
}

// A section that is named like a stage, and that its key leaves out, would change results under the same key.
TEST(StageKinds, DependOnTheirOwnSection) {
  const Config config;
  for (const StageKind& kind : stage_kinds()) {
    if (!is_section(kind.name)) continue;
    const std::vector<std::string> sections = kind.sections(config);
    EXPECT_NE(std::find(sections.begin(), sections.end(), kind.name), sections.end()) << kind.name;
  }
}

TEST(StageKinds, UseOnlyStagesThatARunHasBeforeThem) {
  for (const Config& config : configs()) {
    std::set<std::string> made;
    for (const Stage& stage : stages_of(inputs_with(config))) {
      for (const std::string& name : stage_kind(stage.name).inputs(config, stage.round)) {
        const bool is_first = stage.iteration == 1;
        EXPECT_TRUE(made.contains(name == kPolicy ? policy_stage(config) : name) ||
                    (name == kPolicy && is_first))
            << stage.folder << ": " << name;
      }
      for (const std::string& folder : stage.inputs)
        EXPECT_NE(folder, stage.folder);
      made.insert(stage.name);
    }
  }
}

TEST(StageKinds, AreAllInSomeRun) {
  std::set<std::string> found, all;
  for (const Config& config : configs())
    for (const Stage& stage : stages_of(inputs_with(config)))
      found.insert(stage.name);
  for (const StageKind& kind : stage_kinds())
    all.insert(kind.name);
  EXPECT_EQ(found, all);
}

TEST(StageKinds, CostSomethingAndCanRun) {
  for (const Config& config : configs()) {
    const RunInputs inputs = inputs_with(config);
    const Workload work(inputs);
    for (const StageKind& kind : stage_kinds()) {
      ASSERT_NE(kind.cost, nullptr) << kind.name;
      ASSERT_NE(kind.run, nullptr) << kind.name;
      const Cost cost = kind.cost(work);
      EXPECT_GT(cost.records, 0) << kind.name;
      EXPECT_GE(cost.seconds, 0) << kind.name;
    }
  }
}

TEST(StageKinds, HaveTheSameSettingsInTheKeysOfRunsAndCommands) {
  for (const Config& config : configs()) {
    for (const StageKind& kind : stage_kinds()) {
      const Json run = ingredients_in_run(kind, config, 1, Json::object(), Json::object());
      const Json alone = ingredients_alone(kind, config, Json::object());
      for (const char* part : {"stage", "format", "seed", "config"})
        EXPECT_EQ(run.at(part), alone.at(part)) << kind.name << ": " << part;
      EXPECT_EQ(run.contains("threads"), kind.trains) << kind.name;
      EXPECT_EQ(alone["facts"].contains("threads"), kind.trains) << kind.name;
    }
  }
}

}  // namespace
}  // namespace cai
