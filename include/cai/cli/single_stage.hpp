// What the commands that run one stage share: its prompts, models and people, and the run of it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/cli/commands.hpp"
#include "cai/cli/progress_line.hpp"
#include "cai/data/constitution.hpp"
#include "cai/pipeline/hybrid.hpp"
#include "cai/pipeline/speakers.hpp"
#include "cai/pipeline/stage_kinds.hpp"
#include "cai/stages/eval.hpp"

namespace cai {

/// One stage run by itself. What use_...() brings goes to `job` and counts for the key, so each is called
/// before run(), and nothing is written before.
class SingleStage {
 public:
  SingleStage(const Arguments& a, const StageKind& kind);
  SingleStage(const SingleStage&) = delete;

  const Arguments& arguments;
  Config config;
  std::filesystem::path model;  // after use_model()
  Constitution constitution;    // after use_constitution()
  Brought brought;
  std::vector<Prompt> prompts;
  std::vector<Attack> wrappers;  // of the stage prompts
  std::vector<Json> records;
  Json facts = Json::object();  // what the key names beside the config
  Speakers speakers;
  StageJob job;

  void use(const std::string& what, std::vector<Json> given);  ///< becomes the stage's records
  void use_input(const std::string& what);                     ///< records of --input
  void use_pairs();                                            ///< pairs of --input, in any accepted format
  void use_prompts();      ///< of --prompts: of files, or records of folders
  void use_human_pairs();  ///< of hybrid.pairs
  void use_people();       ///< of hybrid.decisions
  void use_brought();  ///< of hybrid and label.exam_pairs, clear of the constitution's tests, if one was read
  void use_model();
  void use_constitution();
  std::vector<EvalModel> use_models();  ///< of --model NAME=MODEL, the first one "base"
  void use_round(long round);
  /// Who gives feedback (as in Config::feedback): --model where it is "self"; an endpoint is only checked
  /// here.
  void use_feedback(const std::string& feedback);

  /// Runs the stage into --out unless it is there, prints its figures and returns them.
  Json run();

 private:
  Speaker& critic();
  Speaker& judge(bool contrast);

  const StageKind& kind_;
  ProgressStyle style_;
};

StageKind score_stage();  ///< score: what a reward model says of pairs.
void prepare_score(SingleStage& stage);

/// Throws UsageError where --out is something else than a new name, an empty folder or a stage's folder:
/// nothing else is ever moved aside.
void check_out(const std::filesystem::path& out);

/// Prompts of files, or records of folders, as records; the shipped ones when the config names none.
std::vector<Json> read_prompt_records(const Config& config);

}  // namespace cai
