// What a run consists of: its inputs, checked, and its stages in running order with what determines each.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/prompt.hpp"
#include "cai/data/suites.hpp"
#include "cai/io/json.hpp"
#include "cai/model/config.hpp"

namespace cai {

struct PromptFile {
  std::filesystem::path path;
  std::string sha256;
  long prompts = 0;
};

/// Everything that a run reads, loaded and found usable.
struct RunInputs {
  Config config;
  Constitution constitution;
  std::filesystem::path model;
  std::string model_sha256;
  ModelConfig architecture;
  double parameters = 0;  // of the model
  std::vector<PromptFile> prompt_files;
  std::vector<Prompt> prompts;  // of all files; every one has a split
  Suites suites;                // of eval
};

/// Throws one InputError with all problems, one a line. Creates nothing.
RunInputs check_inputs(const Config& config);

struct Stage {
  std::string name;    // "critique"
  std::string folder;  // "iter-01/critique-1"
  int iteration = 1;
  int round = 0;     // of critique and revise, from 1
  Json ingredients;  // what determines the output; the key is its hash
  std::string key;
};

/// Stages in running order. A stage's ingredients name its inputs by their stages' keys, so all keys are known beforehand.
std::vector<Stage> stages_of(const RunInputs& inputs);

/// The stage whose model is an iteration's policy: ppo or dpo (config.method), sft when there are no PPO updates: then nothing is labelled.
std::string policy_stage(const Config& config);

/// In one line, where two ingredients differ: "critique.temperature 0.3 -> 0.5; input iter-01/prompts".
std::string difference(const Json& before, const Json& after);

/// Records of the prompts stage, at most.
long prompt_count(const RunInputs& inputs);

/// Tokens (computed, prompts included) and seconds of one stage on this machine; rough.
struct Cost {
  long records = 0;
  double tokens = 0, seconds = 0;
};
Cost estimate(const RunInputs& inputs, const Stage& stage);

/// Threads of a run: engine.threads, or for 0 what the run in config.out began with, or all cores. Part of the training stages' keys.
long thread_count(const Config& config);

/// run.json of a run, an empty object when there is none yet. Throws InputError when it is damaged.
Json read_run_json(const std::filesystem::path& run);

/// The folder of a run that names none: the newest unfinished runs/<constitution>-NN with this config, else the next free number.
std::filesystem::path choose_run_folder(const RunInputs& inputs, const std::filesystem::path& runs);

/// config.out, else the folder that choose_run_folder finds in runs/.
std::filesystem::path run_folder(const RunInputs& inputs);

/// Names a config apart from where its run goes.
std::string config_fingerprint(const Config& config);

}  // namespace cai
