// What a run reads: the config's constitution, model, prompts and the rest, loaded and found usable before
// anything is created.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/prompt.hpp"
#include "cai/data/suites.hpp"
#include "cai/model/config.hpp"
#include "cai/pipeline/hybrid.hpp"

namespace cai {

struct PromptFile {
  std::filesystem::path path;
  std::string sha256;
  long prompts = 0;
};

struct FeedbackModel {
  ModelConfig architecture;
  double parameters = 0;
};

/// Everything that a run reads, loaded and found usable.
struct RunInputs {
  Config config;
  Constitution constitution;
  std::filesystem::path model;
  std::string model_sha256;
  ModelConfig architecture;
  double parameters = 0;                                 // of the model
  std::map<std::string, FeedbackModel> feedback_models;  // other local ones that criticise or judge, by name
  std::vector<PromptFile> prompt_files;
  std::vector<Prompt> prompts;  // of all files, each once; every one has a split
  Brought brought;              // what people brought, clear of what eval asks
  Suites suites;                // of eval
  Suites wrappers;              // of prompts; none where prompts.wrapped is 0
};

/// The settings of the section endpoint for the server at `url`.
EndpointConfig endpoint_at(const Config& config, const std::string& url);

/// The settings of stages with what "auto" stands for by `feedback`: critique.principle and revise.judge.
CritiqueConfig critique_settings(const Config& config);
ReviseConfig revise_settings(const Config& config);

/// Throws one InputError with all problems, one a line. Creates nothing. What the run cannot do with its
/// prompts and pairs, and what is left out of them, is told as warnings.
RunInputs check_inputs(const Config& config);

/// Records of the prompts stage, at most.
long prompt_count(const RunInputs& inputs);

/// How many principles have no check: a model judges them.
long judged_principles(const Constitution& constitution);

/// Whether no rule can label this run's training prompts, because none has a kind tag, and label.method is
/// left to the exam: then the judge chooses between answers whatever it is worth.
bool labels_by_choice_only(const RunInputs& inputs);

/// The stage whose model is an iteration's policy: ppo or dpo (config.method), sft when there are no PPO
/// updates: then nothing is labelled.
std::string policy_stage(const Config& config);

}  // namespace cai
