#include "cai/config/config.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

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
