// What the commands that run one stage share: its prompts, models and people, the key of its folder, and the
// run of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cai/base/random.hpp"
#include "cai/cli/commands.hpp"
#include "cai/cli/progress_line.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/decisions.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/records.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/hybrid.hpp"
#include "cai/stages/eval.hpp"

namespace cai {

/// One stage run by itself. What use_...() returns counts for its key, so each is called before recorded() or
/// trained(), and nothing is written before.
class SingleStage {
 public:
  explicit SingleStage(const Arguments& a);

  const Arguments& arguments;
  Config config;
  ProgressFn progress;
  std::filesystem::path model;  // after use_model()
  Constitution constitution;    // after use_constitution()
  Json facts = Json::object();  // what the key names beside the config

  Random random(long round = 0) const;
  std::uint64_t seed() const { return random().next(); }

  std::vector<Json> use(const std::string& what, std::vector<Json> records);
  std::vector<Json> use_input(const std::string& what);  ///< records of --input
  std::vector<Json> use_pairs();                         ///< pairs of --input, in any accepted format
  std::vector<Json> use_prompts();                       ///< of --prompts: of files, or records of folders
  std::vector<Json> use_human_pairs();                   ///< of hybrid.pairs
  People use_people();                                   ///< of hybrid.decisions
  Brought
  use_brought();  ///< of hybrid and label.exam_pairs, clear of the constitution's tests where one was read
  void use_model();
  const Constitution& use_constitution();
  std::vector<EvalModel> use_models();  ///< of --model NAME=MODEL, the first one "base"

  std::unique_ptr<Speaker> speaker() const;
  std::unique_ptr<Speaker> judge(bool contrast) const;  ///< label.feedback; contrast needs no endpoint
  void
  use_judge();  // what label.feedback names: a model, a checkpoint, or an endpoint that is only checked here

  /// Runs the stage into --out unless it is there, prints its figures and returns them; records by `body`, or
  /// training.
  Json recorded(const std::function<Json(RecordWriter&)>& body, const std::vector<std::string>& extras = {});
  Json trained(const std::function<Json()>& body);

 private:
  std::string key() const;
  Json finish(const std::function<StageResult()>& stage);

  ProgressStyle style_;
};

int run_score(SingleStage& stage);  ///< Returns the exit code.

/// Prompts of files, or records of folders, as records; the shipped ones when the config names none.
std::vector<Json> read_prompt_records(const Config& config);

}  // namespace cai
