#include "cai/config/config.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "cai/base/error.hpp"
#include "cai/config/field.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("cai-config-" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(path / name) << text;
    return path / name;
  }
};

std::string problems(const fs::path& file, const std::vector<std::string>& sets = {}) {
  try {
    load_config(file, sets);
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& piece) {
  return text.find(piece) != text.npos;
}

TEST(Config, AllProblemsComeTogetherWithTheirLines) {
  const Folder f;
  const std::string all = problems(
      f.write("c.yaml",
              "seed: -1\nppo:\n  upadtes: 3\n  learning_rate: nan\nsft: {epochs: two}\nnothing: 1\n"),
      {"ppo.epochs=0.5", "reward.batch_size"});
  for (const char* piece : {"c.yaml:1", "c.yaml:3", "did you mean \"ppo.updates\"", "c.yaml:4", "c.yaml:5",
                            "c.yaml:6", "--set", "ppo.epochs", "reward.batch_size"})
    EXPECT_TRUE(has(all, piece)) << piece << "\n" << all;
}

TEST(Config, AGroupOfFieldsMayStandInAMapOfItsOwn) {
  const Folder f;
  const fs::path nested = f.write("nested.yaml", "sft:\n  lora: {rank: 8, targets: mlp}\n  epochs: 2\n"),
                 flat = f.write("flat.yaml", "sft:\n  lora.rank: 8\n  lora.targets: mlp\n  epochs: 2\n");
  const Config c = load_config(nested, {"ppo.lora.rank=4"});
  EXPECT_EQ(c.sft.optimiser.lora.rank, 8);
  EXPECT_EQ(c.sft.optimiser.lora.targets, "mlp");
  EXPECT_EQ(c.ppo.optimiser.lora.rank, 4);
  EXPECT_EQ(c.origin.at("sft.lora.rank"), nested.string() + ":2");
  EXPECT_EQ(to_yaml(load_config(flat, {"ppo.lora.rank=4"}), false), to_yaml(c, false));
  EXPECT_EQ(to_yaml(load_config(f.write("again.yaml", to_yaml(c, true)), {}), false), to_yaml(c, false));
  const std::string all = problems(
      f.write("bad.yaml",
              "sft:\n  lora: {ranks: 8}\nppo:\n  lora: 3\ndpo:\n  lora: {rank: -1}\n  lroa: {rank: 1}\n"));
  for (const char* piece : {"bad.yaml:2: unknown field \"sft.lora.ranks\"; did you mean \"sft.lora.rank\"?",
                            "bad.yaml:4: unknown field \"ppo.lora\"", "bad.yaml:6: dpo.lora.rank",
                            "bad.yaml:7: unknown field \"dpo.lroa\""})
    EXPECT_TRUE(has(all, piece)) << piece << "\n" << all;
}

// Keys of runs from before adapters stay as they were.
TEST(Config, AnAdaptersSettingsAreNoPartOfTheKeyWithoutOne) {
  EXPECT_FALSE(has(section_text(load_config({}, {"sft.lora.alpha=3"}), "sft"), "lora"));
  EXPECT_TRUE(has(section_text(load_config({}, {"sft.lora.rank=3"}), "sft"), "sft.lora.alpha = 0"));
}

TEST(Config, LaterPlacesWin) {
  const Folder f;
  f.write("base.yaml", "seed: 3\nppo: {updates: 7, epochs: 3}\n");
  const Config c =
      load_config(f.write("top.yaml", "extends: base.yaml\nppo: {updates: 8}\n"), {"ppo.epochs=4"});
  EXPECT_EQ(c.seed, 3u);
  EXPECT_EQ(c.ppo.updates, 8);
  EXPECT_EQ(c.ppo.epochs, 4);
  EXPECT_TRUE(has(c.origin.at("ppo.updates"), "top.yaml:2"));
  EXPECT_TRUE(has(c.origin.at("ppo.epochs"), "--set"));
}

TEST(Config, ExtendingInACircleIsAProblem) {
  const Folder f;
  f.write("a.yaml", "extends: b.yaml\n");
  f.write("b.yaml", "extends: a.yaml\n");
  EXPECT_FALSE(problems(f.path / "a.yaml").empty());
}

TEST(Config, DuplicateKeysAndBrokenYamlAreProblems) {
  const Folder f;
  EXPECT_TRUE(has(problems(f.write("d.yaml", "seed: 1\nseed: 2\n")), "d.yaml:2"));
  EXPECT_TRUE(has(problems(f.write("e.yaml", "ppo: {updates: 3\n")), "e.yaml"));
  EXPECT_FALSE(problems(f.path / "absent.yaml").empty());
}

TEST(Config, MergeKeysAreNamedAndTheLineThatHoldsThem) {
  const Folder f;
  const std::string all =
      problems(f.write("m.yaml", "common: &c\n  learning_rate: 1e-5\nsft:\n  <<: *c\n  epochs: 1\n"));
  EXPECT_TRUE(has(all, "m.yaml:1: unknown section \"common\"")) << all;
  EXPECT_TRUE(has(all, "m.yaml:4: \"<<\" (a YAML merge key) is not read") && has(all, "extends")) << all;
  EXPECT_TRUE(has(problems(f.write("top.yaml", "<<: {seed: 1}\n")), "top.yaml:1: \"<<\""))
      << "at the top too";
  EXPECT_EQ(problems(f.write("anchor.yaml", "sft: {epochs: &n 2}\nppo: {epochs: *n}\n")), "")
      << "anchors are read";
}

TEST(Config, RewardsAreWhitenedWithAValueModelOnly) {
  EXPECT_EQ(problems("", {"ppo.whiten_rewards=true"}), "");
  for (const char* advantage : {"ppo.advantage=rloo", "ppo.advantage=grpo"})
    EXPECT_TRUE(has(problems("", {advantage, "ppo.samples_per_prompt=2", "ppo.whiten_rewards=true"}),
                    "ppo.whiten_rewards: only with ppo.advantage gae"));
}

TEST(Config, WhatIsShownLoadsAsTheSame) {
  const Folder f;
  Config c = load_config("", {"ppo.kl_coefficient=0.1234567890123", "model=a \"quoted\" name",
                              "prompts.files=[x.jsonl, \"y z.tsv\"]"});
  const Config again = load_config(f.write("shown.yaml", to_yaml(c, true)), {});
  EXPECT_EQ(to_yaml(again, false), to_yaml(c, false));
  EXPECT_EQ(again.ppo.kl_coefficient, 0.1234567890123);
  EXPECT_EQ(again.prompts.files.size(), 2u);
}

TEST(Config, EachDefaultIsWithinItsOwnRange) {
  for (const Field& field : config_fields()) {
    EXPECT_EQ(field.check(field.initial), "") << field.section << "." << field.name;
    EXPECT_FALSE(field.help.empty()) << field.name;
    EXPECT_TRUE(field.get(Config()) == field.initial)
        << field.name << ": the struct and the declaration differ";
  }
}

FieldValue another(const FieldValue& value) {
  if (const bool* v = std::get_if<bool>(&value)) return !*v;
  if (const long* v = std::get_if<long>(&value)) return *v + 1;
  if (const double* v = std::get_if<double>(&value)) return *v + 1;
  // Its words are names of fields: a value must not decide which lines there are.
  if (std::holds_alternative<std::string>(value)) return std::string("checkpoint_seconds files gates dtype");
  return std::vector<std::string>{"checkpoint_seconds", "files"};
}

TEST(Config, KeysChangeWithTheFieldsThatAffectResultsAndWithNoOthers) {
  const Config before;
  for (const Field& field : config_fields()) {
    Config after;
    field.set(after, another(field.initial));
    const bool matters = field.affects_result && (!field.matters || field.matters(after));
    EXPECT_EQ(section_text(before, field.section) != section_text(after, field.section), matters)
        << field.section << "." << field.name;
  }
}

// A local judge's hash is a fact of the stage: where it lies changes no result. Whether one is named does,
// and which server is.
TEST(Config, KeysHoldThatALocalModelIsNamedButNotWhere) {
  const auto key = [](const std::string& judge) {
    Config config;
    config.label.feedback = judge;
    return section_text(config, "label");
  };
  EXPECT_EQ(key("judge"), key("/other/judge"));
  EXPECT_NE(key("judge"), key(""));
  EXPECT_NE(key("judge"), key("self"));
  EXPECT_NE(key("judge"), key("http://a/v1"));
  EXPECT_NE(key("http://a/v1"), key("http://b/v1"));
}

// Who declares another one says here too that no result depends on it.
TEST(Config, TheseFieldsAffectNoResult) {
  const std::set<std::string> expected = {"engine.device",  // what it computes in is part of the keys
                                          "engine.max_sequences",
                                          "engine.threads",
                                          "prompts.files",
                                          "prompts.wrappers",
                                          "sft.checkpoint_seconds",
                                          "reward.checkpoint_seconds",
                                          "ppo.checkpoint_seconds",
                                          "dpo.checkpoint_seconds",
                                          "eval.suites",
                                          "eval.gates",
                                          "endpoint.url",
                                          "endpoint.urls",
                                          "endpoint.key_variable",
                                          "endpoint.key_file",
                                          "endpoint.ca_file",
                                          "endpoint.concurrency",
                                          "endpoint.timeout_seconds",
                                          "endpoint.retries",
                                          "endpoint.first_wait_seconds",
                                          "endpoint.longest_wait_seconds",
                                          "endpoint.max_tokens_total",
                                          "endpoint.max_cost",
                                          "endpoint.price_prompt",
                                          "endpoint.price_answer",
                                          "endpoint.max_seconds",
                                          "label.exam_pairs",
                                          "hybrid.pairs",
                                          "hybrid.decisions"};
  std::set<std::string> found;
  for (const Field& field : config_fields())
    if (!field.affects_result) found.insert(field.section + "." + field.name);
  EXPECT_EQ(found, expected);
}

TEST(Config, TheShippedFilesLoad) {
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(CAI_SOURCE_DIR) / "configs"))
    if (entry.is_regular_file()) {
      EXPECT_EQ(problems(entry.path()), "") << entry.path();
    }
}

RC_GTEST_PROP(Config, AnyTextEndsInAConfigOrAnInputError, (std::string text)) {
  const Folder f;
  problems(f.write("any.yaml", text));
}

}  // namespace
}  // namespace cai
