// What a run reads: the config's constitution, model, prompts and the rest, loaded and found usable before anything is created.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/prompt.hpp"
#include "cai/data/suites.hpp"
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

/// The endpoint that label.feedback names, with the settings of the section endpoint.
EndpointConfig judge_endpoint(const Config& config);

/// Throws one InputError with all problems, one a line. Creates nothing.
RunInputs check_inputs(const Config& config);

/// Records of the prompts stage, at most.
long prompt_count(const RunInputs& inputs);

/// The stage whose model is an iteration's policy: ppo or dpo (config.method), sft when there are no PPO updates: then nothing is labelled.
std::string policy_stage(const Config& config);

}  // namespace cai
