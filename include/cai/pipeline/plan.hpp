// What a run consists of: its stages in running order with what determines each, and its folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/pipeline/inputs.hpp"
#include "cai/pipeline/run.hpp"

namespace cai {

struct Stage {
  std::string name;    // "critique"
  std::string folder;  // "iter-01/critique-1"
  int iteration = 1;
  int round = 0;                    // of critique and revise, from 1
  std::vector<std::string> inputs;  // folders of the stages that it uses
  Json ingredients;                 // what determines the output; the key is its hash
  std::string key;
};

/// Stages in running order. A stage's ingredients name its inputs by their stages' keys, so all keys are
/// known beforehand.
std::vector<Stage> stages_of(const RunInputs& inputs);

/// What a run of these inputs in `out` would make, and why.
Plan plan_of(const RunInputs& inputs, const std::filesystem::path& out);

/// In one line, where two ingredients differ: "critique.temperature 0.3 -> 0.5; input iter-01/prompts".
std::string difference(const Json& before, const Json& after);

/// Threads of a run: engine.threads, or for 0 what the run in config.out began with, or all cores. Part of
/// the training stages' keys.
long thread_count(const Config& config);

/// run.json of a run, an empty object when there is none yet. Throws InputError when it is damaged.
Json read_run_json(const std::filesystem::path& run);

/// The folder of a run that names none: the newest unfinished runs/<constitution>-NN with this config, else
/// the next free number.
std::filesystem::path choose_run_folder(const RunInputs& inputs, const std::filesystem::path& runs);

/// config.out, else the folder that choose_run_folder finds in runs/.
std::filesystem::path run_folder(const RunInputs& inputs);

/// Names a config apart from where its run goes.
std::string config_fingerprint(const Config& config);

}  // namespace cai
