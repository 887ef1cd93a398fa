#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/plan.hpp"
#include "cai/pipeline/resources.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/pipeline/version.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

class Folder : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "cai-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
};

struct Plan : Folder {};
struct Run : Folder {};
struct StageFolder : Folder {};
struct Verify : Folder {};
struct FindModelIn : Folder {};

RunInputs small_inputs() {
  RunInputs inputs;
  inputs.constitution.name = "harmless";
  inputs.constitution.sha256 = sha256("a constitution");
  inputs.model_sha256 = sha256("a model");
  inputs.parameters = 135e6;
  inputs.prompt_files = {{"prompts.jsonl", sha256("prompts"), 2}};
  return inputs;
}

std::vector<std::string> folders_that_differ(const RunInputs& a, const RunInputs& b) {
  std::vector<Stage> left = stages_of(a), right = stages_of(b);
  std::vector<std::string> folders;
  for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
    if (left[i].key != right[i].key) folders.push_back(left[i].folder);
  }
  return folders;
}

TEST(Stages, RunInTheOrderOfThePaper) {
  RunInputs inputs = small_inputs();
  inputs.config.revise.rounds = 2;
  std::vector<std::string> folders;
  for (const Stage& stage : stages_of(inputs))
    folders.push_back(stage.folder);
  EXPECT_EQ(folders,
            (std::vector<std::string>{"iter-01/prompts", "iter-01/generate", "iter-01/critique-1",
                                      "iter-01/revise-1", "iter-01/critique-2", "iter-01/revise-2",
                                      "iter-01/sft", "iter-01/exam", "iter-01/candidates", "iter-01/label",
                                      "iter-01/reward", "iter-01/ppo", "iter-01/eval"}));
}

TEST(Stages, KeysDependOnlyOnWhatDeterminesTheOutput) {
  RunInputs inputs = small_inputs(), other = inputs;
  other.config.out = "elsewhere";
  other.config.engine.max_sequences = 3;
  other.config.sft.optimiser.checkpoint_seconds = 1;
  other.config.report.examples = 1;
  other.config.eval.gates = {"over_refusal <= base + 5pt"};
  EXPECT_EQ(folders_that_differ(inputs, other), std::vector<std::string>{});
}

TEST(Stages, ThreadsDetermineTrainingAndWhatFollowsFromIt) {  // ATen splits sums among threads
  RunInputs inputs = small_inputs(), other = inputs;
  inputs.config.engine.threads = 1, other.config.engine.threads = 2;
  const std::vector<std::string> differ = folders_that_differ(inputs, other);
  ASSERT_FALSE(differ.empty());
  EXPECT_EQ(differ.front(), "iter-01/sft");
  EXPECT_EQ(difference(stages_of(inputs)[4].ingredients, stages_of(other)[4].ingredients), "threads 1 -> 2");
}

TEST(Stages, AChangedFieldChangesItsStageAndThoseAfterIt) {
  RunInputs inputs = small_inputs(), other = inputs;
  other.config.candidates.temperature = 0.9;
  EXPECT_EQ(folders_that_differ(inputs, other),
            (std::vector<std::string>{"iter-01/candidates", "iter-01/label", "iter-01/reward", "iter-01/ppo",
                                      "iter-01/eval"}));
}

TEST(Stages, TheConstitutionDoesNotTouchPromptsAndResponses) {
  RunInputs inputs = small_inputs(), other = inputs;
  other.constitution.sha256 = sha256("another constitution");
  std::vector<std::string> differ = folders_that_differ(inputs, other);
  ASSERT_FALSE(differ.empty());
  EXPECT_EQ(differ.front(), "iter-01/critique-1");
}

TEST(Stages, WhatSuitesHoldTouchesEvalAloneAndTheirNamesTouchNothing) {
  RunInputs inputs = small_inputs(), other = inputs;
  other.config.eval.suites = {"a/copy.jsonl"};
  EXPECT_EQ(folders_that_differ(inputs, other), std::vector<std::string>{});
  other.suites.sha256 = {sha256("another attack")};
  EXPECT_EQ(folders_that_differ(inputs, other), std::vector<std::string>{"iter-01/eval"});
  EXPECT_EQ(suites_of(EvalConfig{}).sha256.size(), 3u);  // the shipped ones are found
  EvalConfig config;
  config.suites = {"adverserial"};
  EXPECT_THROW(suites_of(config), InputError);
}

TEST(Stages, WhatWrappersHoldTouchesPromptsAndTheirNamesTouchNothing) {
  RunInputs inputs = small_inputs(), other = inputs;
  other.config.prompts.wrappers = {"a/copy.jsonl"};
  EXPECT_EQ(folders_that_differ(inputs, other), std::vector<std::string>{});
  other.wrappers.sha256 = {sha256("another wrapper")};
  EXPECT_EQ(folders_that_differ(inputs, other).front(), "iter-01/prompts");
}

TEST(Stages, NoWrapperIsAskedInEvaluation) {
  PromptsConfig config;
  const Suites evaluated = suites_of(EvalConfig{});
  EXPECT_TRUE(wrappers_of(config, evaluated).attacks.empty()) << "none without prompts.wrapped";
  config.wrapped = 0.2;
  EXPECT_GE(wrappers_of(config, evaluated).attacks.size(), 10u);
  config.wrappers = {"adversarial"};
  EXPECT_THROW(wrappers_of(config, evaluated), InputError);
  config.wrappers = {"capability"};
  EXPECT_THROW(wrappers_of(config, evaluated), InputError) << "no attack in it";
}

TEST(Stages, WhatTheJudgeIsTaughtDependsOnHowItIsAsked) {
  RunInputs inputs = small_inputs(), other = inputs;
  other.config.label.examples = 1;
  EXPECT_EQ(folders_that_differ(inputs, other).front(), "iter-01/exam");  // nothing is taught
  inputs.config.sft.judge_turns = other.config.sft.judge_turns = 60;
  EXPECT_EQ(folders_that_differ(inputs, other).front(), "iter-01/sft");
}

struct DecisionsOfPeople : Folder {};

TEST_F(DecisionsOfPeople, TouchLabelsAndTheirOwnAnswersTouchFineTuning) {
  RunInputs inputs = small_inputs(), other = inputs;
  const fs::path file = folder_ / "decisions.jsonl";
  other.config.hybrid.decisions = {file.string()};
  const auto read = [&](const std::vector<std::string>& evaluated) {
    return read_brought(other.config, evaluated, [](const std::function<void()>& one) { one(); });
  };
  write_file(file, R"({"id":"1","prompt":"How?","a":"One.","b":"Two.","human":1})"
                   "\n");
  other.brought = read({});
  EXPECT_EQ(folders_that_differ(inputs, other).front(), "iter-01/label");
  write_file(file, R"({"id":"1","prompt":"How?","a":"One.","b":"Two.","edited":"Three."})"
                   "\n");
  EXPECT_EQ(folders_that_differ(inputs, other).front(), "iter-01/label")
      << "what somebody decides while the run goes on is not seen";
  other.brought = read({});
  EXPECT_EQ(folders_that_differ(inputs, other).front(), "iter-01/sft");
  const Brought cleared = read({"how"});
  EXPECT_TRUE(cleared.people.edits().empty());
  EXPECT_EQ(cleared.left_out, Json({{"hybrid.decisions", 1}}));
  EXPECT_EQ(cleared.notes.size(), 1u);
}

TEST(Stages, TheExamAsksTheModelThatCameInToo) {
  RunInputs inputs = small_inputs();
  inputs.config.iterations = 2;
  for (const Stage& stage : stages_of(inputs)) {
    if (stage.name != "exam") continue;
    EXPECT_EQ(stage.ingredients.contains("model"), stage.iteration == 1);
    EXPECT_EQ(stage.ingredients["inputs"].contains("iter-01/ppo"), stage.iteration == 2);
  }
}

TEST(Stages, AnotherIterationStartsFromTheLastPolicyAndNotFromWhatWasAsked) {
  RunInputs inputs = small_inputs();
  inputs.config.iterations = 2;
  std::vector<Stage> stages = stages_of(inputs);
  auto inputs_of = [&](const std::string& folder) {
    std::set<std::string> used;
    for (const Stage& stage : stages) {
      if (stage.folder != folder) continue;
      for (const auto& [name, key] : stage.ingredients["inputs"].items())
        used.insert(name);
    }
    return used;
  };
  EXPECT_EQ(inputs_of("iter-02/prompts"), std::set<std::string>());
  EXPECT_EQ(inputs_of("iter-02/generate"), (std::set<std::string>{"iter-01/ppo", "iter-02/prompts"}));
  EXPECT_EQ(inputs_of("iter-02/sft"), (std::set<std::string>{"iter-01/ppo", "iter-02/revise-1"}));
  std::set<std::string> keys;
  for (const Stage& stage : stages)
    keys.insert(stage.key);
  EXPECT_EQ(keys.size(), stages.size());
}

TEST(Stages, AnIterationMoreLeavesTheEarlierOnesAsTheyAre) {
  RunInputs inputs = small_inputs(), more = inputs;
  more.config.iterations = 3;
  EXPECT_EQ(folders_that_differ(inputs, more), std::vector<std::string>{});
  EXPECT_EQ(stages_of(more).size(), 3 * stages_of(inputs).size());
}

TEST(Stages, WithoutPpoUpdatesTheRunEndsWithSupervisedLearning) {
  RunInputs inputs = small_inputs();
  inputs.config.ppo.updates = 0;
  inputs.config.iterations = 2;
  std::vector<Stage> stages = stages_of(inputs);
  std::vector<std::string> names;
  for (const Stage& stage : stages) {
    if (stage.iteration == 1) names.push_back(stage.name);
    if (stage.folder == "iter-02/generate") {
      EXPECT_TRUE(stage.ingredients["inputs"].contains("iter-01/sft"));
    }
  }
  EXPECT_EQ(names, (std::vector<std::string>{"prompts", "generate", "critique", "revise", "sft", "eval"}));
}

TEST(Stages, ByDpoTheLabelsTrainThePolicyThemselves) {
  RunInputs inputs = small_inputs(), other = inputs;
  inputs.config.method = "dpo";
  inputs.config.iterations = 2;
  std::vector<std::string> names;
  for (const Stage& stage : stages_of(inputs)) {
    if (stage.iteration == 1) names.push_back(stage.name);
    if (stage.folder == "iter-02/generate") {
      EXPECT_TRUE(stage.ingredients["inputs"].contains("iter-01/dpo"));
    }
  }
  EXPECT_EQ(names, (std::vector<std::string>{"prompts", "generate", "critique", "revise", "sft", "exam",
                                             "candidates", "label", "dpo", "eval"}));
  other.config.ppo.updates = 0;  // no matter: dpo has none
  other.config.method = "dpo", other.config.iterations = 2;
  EXPECT_EQ(folders_that_differ(inputs, other), std::vector<std::string>{});
}

TEST(Difference, NamesTheFieldAndItsValues) {
  RunInputs inputs = small_inputs(), other = inputs;
  other.config.critique.temperature = 0.5;
  std::vector<Stage> before = stages_of(inputs), after = stages_of(other);
  EXPECT_EQ(difference(before[2].ingredients, after[2].ingredients), "critique.temperature 0.3 -> 0.5");
  EXPECT_EQ(difference(before[3].ingredients, after[3].ingredients), "input iter-01/critique-1");
}

TEST_F(Plan, ReportsAllProblemsTogetherAndCreatesNothing) {
  Config config;
  config.constitution = (folder_ / "none.yaml").string();
  config.model = (folder_ / "no-model").string();
  config.prompts.files = {(folder_ / "no-prompts.jsonl").string()};
  config.out = (folder_ / "out").string();
  try {
    plan(config);
    FAIL() << "plan accepted what is not there";
  } catch (const InputError& error) {
    std::string message = error.what();
    EXPECT_NE(message.find("none.yaml"), std::string::npos) << message;
    EXPECT_NE(message.find("no-model"), std::string::npos) << message;
    EXPECT_NE(message.find("no-prompts.jsonl"), std::string::npos) << message;
    EXPECT_EQ(error.exit_code(), kBadInput);
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(Run, WithoutANameGoesOnWithTheNewestUnfinishedOneOfTheSameConfig) {
  RunInputs inputs = small_inputs();
  auto make = [&](const std::string& name, const std::string& state, const std::string& config) {
    fs::create_directories(folder_ / name);
    write_sealed(folder_ / name / "run.json", {{"state", state}, {"config_sha256", config}});
  };
  EXPECT_EQ(choose_run_folder(inputs, folder_).filename(), "harmless-01");
  make("harmless-01", "done", config_fingerprint(inputs.config));
  EXPECT_EQ(choose_run_folder(inputs, folder_).filename(), "harmless-02");
  make("harmless-02", "stopped", config_fingerprint(inputs.config));
  make("harmless-03", "stopped", "another config");
  EXPECT_EQ(choose_run_folder(inputs, folder_).filename(), "harmless-02");
  inputs.config.seed = 9;
  EXPECT_EQ(choose_run_folder(inputs, folder_).filename(), "harmless-04");
}

RunInputs smollm2_inputs() {
  RunInputs inputs = small_inputs();
  ModelConfig& m = inputs.architecture;
  m.layers = 30, m.width = 576, m.heads = 9, m.kv_heads = 3, m.head_width = 64, m.ffn_width = 1536,
  m.vocabulary = 49152;
  return inputs;
}

TEST_F(Run, MemoryCountsTheModelsThatGiveFeedback) {
  RunInputs inputs = small_inputs();
  inputs.architecture.layers = 12, inputs.architecture.width = 64, inputs.architecture.vocabulary = 1000;
  const double alone = memory_estimate(inputs);
  inputs.feedback_models["judge"] = {inputs.architecture, 8e9};
  const double with_judge = memory_estimate(inputs);
  EXPECT_GT(with_judge, std::max(alone, 2 * 8e9));  // at least two bytes a weight
  inputs.feedback_models["critic"] = {inputs.architecture, 4e9};
  const double with_both = memory_estimate(inputs);
  EXPECT_GT(with_both, with_judge + 2 * 3e9);
  inputs.feedback_models["third"] = {inputs.architecture, 2e9};
  EXPECT_EQ(memory_estimate(inputs), with_both);  // two stay loaded at most
}

TEST_F(Run, TooLittleMemoryAndDiskAreToldInOneLine) {
  RunInputs inputs = smollm2_inputs();
  EXPECT_GT(memory_estimate(inputs), 2 * 4 * 135e6);
  inputs.parameters = 70e12, inputs.architecture.width = 1'000'000;
  EXPECT_NE(memory_problem(inputs).find(" of memory, but only "), std::string::npos);
  EXPECT_NE(disk_problem(inputs, folder_, folder_).find(" of disk, "), std::string::npos);
}

TEST_F(Run, DiskEstimateGrowsWithModelAndIterations) {
  RunInputs inputs = smollm2_inputs();
  double one = disk_estimate(inputs);
  EXPECT_GT(one, 3 * 4 * 135e6);
  inputs.config.iterations = 2;
  EXPECT_GT(disk_estimate(inputs), one + 3 * 4 * 135e6 - 1);
}

Json two_records(RecordWriter& out) {
  for (std::size_t i = out.already_written().size(); i < 2; ++i)
    out.write(i, {{"id", "r" + std::to_string(i)}, {"response", "text " + std::to_string(i)}});
  return {{"records", 2}};
}

TEST_F(StageFolder, IsSkippedWhenItsKeyFits) {
  int calls = 0;
  auto body = [&](RecordWriter& out) { return ++calls, two_records(out); };
  EXPECT_FALSE(run_record_stage(folder_ / "s", "generate", "key", 0, {}, body).was_done);
  StageResult again = run_record_stage(folder_ / "s", "generate", "key", 0, {}, body);
  EXPECT_TRUE(again.was_done);
  EXPECT_EQ(again.figures["records"], 2);
  EXPECT_EQ(calls, 1);
}

TEST_F(StageFolder, OfAnotherKeyIsKeptAsideNotDeleted) {
  run_record_stage(folder_ / "s", "generate", "old", 0, {}, two_records);
  std::string old = read_file(folder_ / "s" / "00000.jsonl");
  EXPECT_FALSE(run_record_stage(folder_ / "s", "generate", "new", 0, {}, two_records).was_done);
  EXPECT_EQ(read_file(folder_ / "s.stale-1" / "00000.jsonl"), old);
  EXPECT_EQ(read_manifest(folder_ / "s")->key, "new");
}

TEST_F(StageFolder, IsTakenOverFromAnotherRunWhenItIsWholeAndOfTheSameKey) {
  const fs::path damaged = folder_ / "damaged" / "s", other = folder_ / "other" / "s",
                 wrong = folder_ / "wrong" / "s", mine = folder_ / "mine" / "s";
  for (const fs::path& from : {damaged, other})
    run_record_stage(from, "generate", "key", 0, {}, two_records);
  run_record_stage(wrong, "generate", "another key", 0, {}, two_records);
  write_file(damaged / "00000.jsonl", "{}\n");
  fs::create_directories(mine.parent_path());
  EXPECT_EQ(take_over({folder_ / "none" / "s", wrong}, mine, "key"), "");
  EXPECT_FALSE(fs::exists(mine));
  EXPECT_EQ(take_over({wrong, damaged, other}, mine, "key"), other);
  EXPECT_TRUE(run_record_stage(mine, "generate", "key", 0, {}, [](RecordWriter&) -> Json {
                throw Bug("made again");
              }).was_done);
  EXPECT_EQ(read_records(mine).size(), 2u);
  EXPECT_EQ(verify_manifest(mine), std::vector<std::string>{});
  EXPECT_EQ(take_over({other}, mine, "key"), "");  // what is there stays
}

TEST_F(StageFolder, SumsSecondsOverInterruptions) {
  EXPECT_GE(run_record_stage(folder_ / "s", "generate", "key", 100, {}, two_records).seconds, 100);
}

TEST_F(StageFolder, ExtraFilesJoinTheManifest) {
  auto body = [&](RecordWriter& out) {
    write_file(folder_ / "s" / "failures.jsonl", "{\"id\":\"f\"}\n");
    return two_records(out);
  };
  EXPECT_FALSE(run_record_stage(folder_ / "s", "eval", "key", 0, {"failures.jsonl"}, body).was_done);
  EXPECT_EQ(read_manifest(folder_ / "s")->files.size(), 2u);
  EXPECT_EQ(verify_manifest(folder_ / "s"), std::vector<std::string>{});
  EXPECT_EQ(read_records(folder_ / "s").size(), 2u);  // extras are no shards
}

TEST_F(StageFolder, WhatAKillAfterTheManifestLeftIsCleared) {
  run_record_stage(folder_ / "s", "generate", "key", 0, {}, two_records);
  for (const char* file : {"progress.json", "progress.hashes", "manifest.json.tmp"})
    write_file(folder_ / "s" / file, "left");
  EXPECT_TRUE(run_record_stage(folder_ / "s", "generate", "key", 0, {}, two_records).was_done);
  std::set<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder_ / "s"))
    files.insert(entry.path().filename());
  EXPECT_EQ(files, (std::set<std::string>{"00000.jsonl", "manifest.json"}));
}

TEST_F(StageFolder, OfTrainingContinuesWithTheSameKeyAndMovesAsideWithAnother) {
  fs::path stage = folder_ / "sft";
  auto killed = [&]() -> Json {
    fs::create_directories(stage / "state");
    write_file(stage / "state" / "position.json", "{}");
    throw EnvironmentError("killed");
  };
  EXPECT_THROW(run_training_stage(stage, "sft", "key", 0, killed), EnvironmentError);
  auto finish = [&](bool expect_state) {
    return [&, expect_state]() -> Json {
      EXPECT_EQ(fs::exists(stage / "state" / "position.json"), expect_state);
      fs::create_directories(stage / "checkpoint");
      write_file(stage / "checkpoint" / "config.json", "{}");
      return {{"steps", 3}};
    };
  };
  run_training_stage(stage, "sft", "key", 0, finish(true));
  EXPECT_FALSE(fs::exists(stage / "state"));
  EXPECT_EQ(read_manifest(stage)->files.size(), 1u);
  EXPECT_THROW(run_training_stage(stage, "sft", "other", 0, killed), EnvironmentError);
  run_training_stage(stage, "sft", "third", 0, finish(false));
}

TEST_F(Verify, TellsDamagedFilesAndTheFirstDifferenceOfTwoRuns) {
  for (const char* run : {"a", "b"})
    run_record_stage(folder_ / run / "iter-01" / "generate", "generate", "key", 0, {}, two_records);
  EXPECT_EQ(verify(folder_ / "a", folder_ / "b"), std::vector<std::string>{});

  fs::remove_all(folder_ / "b");
  run_record_stage(folder_ / "b" / "iter-01" / "generate", "generate", "key", 0, {}, [](RecordWriter& out) {
    out.write(0, {{"id", "r0"}, {"response", "text 0"}});
    out.write(1, {{"id", "r1"}, {"response", "another"}});
    return Json{{"records", 2}};
  });
  EXPECT_EQ(verify(folder_ / "a", folder_ / "b"),
            std::vector<std::string>{"iter-01/generate/00000.jsonl differs: line 2 (id r1), field response"});

  std::ofstream(folder_ / "a" / "iter-01" / "generate" / "00000.jsonl", std::ios::app) << "{}\n";
  std::vector<std::string> damaged = verify(folder_ / "a", {});
  ASSERT_EQ(damaged.size(), 1u);
  EXPECT_NE(damaged[0].find("00000.jsonl"), std::string::npos);
  EXPECT_THROW(verify(folder_ / "none", {}), InputError);
}

TEST_F(Verify, TellsWhatIsDamagedOrGoneInTheRunItself) {
  run_record_stage(folder_ / "iter-01" / "generate", "generate", "key", 0, {}, two_records);
  const Json facts = {
      {"state", "done"},
      {"report_sha256", sha256("page")},
      {"stages", {{"iter-01/generate", {{"state", "done"}}}, {"iter-01/sft", {{"state", "done"}}}}}};
  write_sealed(folder_ / "run.json", facts);
  write_file(folder_ / "report.html", "page");
  std::vector<std::string> told = verify(folder_, {});
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].find("iter-01/sft: no manifest.json"), std::string::npos);
  write_file(folder_ / "report.html", "pages");
  EXPECT_EQ(verify(folder_, {}).size(), 2u);
  write_file(folder_ / "run.json", "{}");
  EXPECT_NE(verify(folder_, {}).front().find("run.json: checksum mismatch"), std::string::npos);
}

TEST_F(FindModelIn, TakesRunsStagesAndCheckpoints) {
  EXPECT_THROW(find_model((folder_ / "none").string()), InputError);
  EXPECT_THROW(find_model(folder_.string()), InputError);
  fs::path checkpoint = folder_ / "run" / "iter-01" / "sft" / "checkpoint";
  fs::create_directories(checkpoint);
  write_file(checkpoint / "config.json", "{}");
  EXPECT_EQ(find_model(checkpoint.string()), checkpoint);
  EXPECT_EQ(find_model(checkpoint.parent_path().string()), checkpoint);
  write_file(folder_ / "run" / "run.json", "{}");
  EXPECT_THROW(find_model((folder_ / "run").string()), InputError);  // not finished yet
  write_manifest(checkpoint.parent_path(),
                 {"sft", "key", {{"checkpoint/config.json", -1, sha256("{}")}}, Json::object(), 0});
  EXPECT_EQ(find_model((folder_ / "run").string()), checkpoint);
}

TEST(FindModel, KnowsTheDefaultModel) {
  EXPECT_TRUE(fs::exists(find_model("smollm2")));
}

TEST(BuildFacts, NameVersionCompilerAndTorch) {
  Json facts = build_facts();
  for (const char* name : {"version", "compiler", "build", "torch"})
    EXPECT_FALSE(facts[name].get<std::string>().empty()) << name;
  EXPECT_GT(machine_facts()["cores"].get<int>(), 0);
}

}  // namespace
}  // namespace cai
