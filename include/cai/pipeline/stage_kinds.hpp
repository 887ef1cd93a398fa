// The stages, one row each: what determines a stage's result, what it costs and how it runs. The plan of a
// run, its keys, its estimates, the run itself and the commands of single stages read these rows.
#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "cai/base/progress.hpp"
#include "cai/base/random.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/hybrid.hpp"
#include "cai/pipeline/inputs.hpp"
#include "cai/pipeline/speakers.hpp"
#include "cai/pipeline/workload.hpp"
#include "cai/stages/eval.hpp"
#include "cai/stages/exam.hpp"

namespace cai {

/// What eval asks of which models.
struct Evaluation {
  std::vector<Json> prompts;
  Suites suites;
  std::set<std::string> topics;  // of the training prompts; none: not known
  std::vector<EvalModel> models;
  std::function<Speaker&()> judge;  // config.eval.judge; empty: nobody
};

/// What one stage works with. A run takes it from earlier stages, a command from its arguments. The functions
/// are called only when the stage runs: a finished one loads nothing.
struct StageJob {
  const Config& config;
  const Constitution& constitution;
  const Brought& brought;
  const std::vector<Prompt>& prompts;  // all that there are
  const std::vector<Attack>& wrappers;
  Speakers& speakers;
  std::filesystem::path folder;
  Random random;
  int round = 0;  // of critique and revise, from 1
  ProgressFn progress;
  RecordWriter* out = nullptr;  // set while a stage that writes records runs

  std::function<const std::vector<Json>&()> records;  // of the stage's first input
  std::function<std::filesystem::path()> model;       // the policy that the stage asks or trains
  std::function<std::filesystem::path()> reward_model;
  std::function<bool()> contrast;                    // whether answers are compared by contrast
  std::function<Speaker*()> initial;                 // of candidates by contrast; null: the policy itself
  std::function<Speaker&()> critic;                  // who criticises and revises: Config::feedback
  std::function<Speaker&(bool contrast)> judge;      // who labels: judge_of(config)
  std::function<std::vector<Examinee>()> examinees;  // of exam
  std::function<Evaluation()> evaluation;            // of eval

  Speaker& policy() const { return speakers.local(model()); }
  std::uint64_t seed() const { return Random(random).next(); }
};

/// What a run knows when it makes its keys.
struct RunFacts {
  const RunInputs& inputs;
  Json model;   // {"model": SHA-256} in the first iteration; a later one's policy is an input
  Json critic;  // {"feedback": SHA-256 or address} where another model than the policy criticises and revises
  Json judge;   // {"judge": SHA-256 or address} where another model labels
  Json eval_judge;  // {"eval_judge": SHA-256 or address} where one compares held-out answers
};

/// Of what the stages write; raised when the same config gives other records.
inline constexpr int kFormat = 3;

/// In StageKind::inputs: the stage that made the policy which an iteration starts from.
inline constexpr const char* kPolicy = "policy";

struct StageKind {
  std::string name;           // also of the folder, the command and the config section
  int format = kFormat;       // raised when the stage makes other output from the same inputs and settings
  bool in_rounds = false;     // repeated revise.rounds times, with its neighbours that are
  bool asks_critic = false;   // Config::feedback
  bool asks_judge = false;    // judge_of(config)
  bool trains = false;        // leaves a checkpoint instead of records; sums depend on engine.threads
  bool loads_models = false;  // itself: those that are loaded are let go first
  std::vector<std::string> files;  // that it leaves beside its records

  /// Whether a run of this config has the stage; null: always.
  bool (*is_in_run)(const Config&) = nullptr;
  /// The config sections that its result depends on.
  std::vector<std::string> (*sections)(const Config&) = nullptr;
  /// The stages of a run whose results it uses, by name. Where it reads records, they are the first one's.
  std::vector<std::string> (*inputs)(const Config&, int round) = nullptr;
  /// What else its result depends on, as a JSON object; null: nothing.
  Json (*facts)(const RunFacts&) = nullptr;
  Cost (*cost)(const Workload&) = nullptr;
  /// Writes records or a checkpoint and returns figures.
  Json (*run)(StageJob&) = nullptr;
};

/// All stages in the order in which a run has them.
const std::vector<StageKind>& stage_kinds();

/// The row of a name. Throws Bug when there is none.
const StageKind& stage_kind(const std::string& name);

/// The rows by the half of the method that they belong to (Bai et al. 2022, figure 1).
std::vector<StageKind> supervised_stages();
std::vector<StageKind> feedback_stages();

/// What determines a stage's output in a run. `inputs`: folder and key of each stage that it uses.
Json ingredients_in_run(const StageKind& kind, const Config& config, int iteration, const Json& inputs,
                        const Json& facts);

/// The same of a stage that runs as a command. `facts`: what it was given.
Json ingredients_alone(const StageKind& kind, const Config& config, Json facts);

/// The stage's random stream.
Random random_of_stage(const Config& config, const std::string& stage, int iteration, int round);

/// Runs the stage into job.folder, unless the result of this key is there. `spent`: seconds of earlier,
/// interrupted attempts.
StageResult run_stage(const StageKind& kind, StageJob& job, const std::string& key, double spent);

}  // namespace cai
