// A run: the plan of stages, each skipped when its manifest's key still fits, resumed when it was
// interrupted.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/io/json.hpp"

namespace cai {

struct PlanStep {
  std::string stage;               // "critique"
  std::string folder;              // "iter-01/critique-1"
  std::string state;               // "done", "resume", "run", "changed"
  std::string why;                 // "key differs: critique.temperature 0.3 -> 0.5"
  long records = 0;                // estimate
  double tokens = 0, seconds = 0;  // estimates
};

struct Plan {
  std::vector<PlanStep> steps;
  double disk_bytes = 0, memory_bytes = 0;  // of the whole run at most, estimates
  double device_bytes = 0;                  // of a device's own memory; 0 on the CPU
};

/// Checks config, constitution, model, prompts, disk: all problems together in one InputError, before
/// anything is created.
Plan plan(const Config& config);

struct RunResult {
  int exit_code = 0;  // kDone, kStopped (a signal; resumable), kGateFailed (the failing gates are logged)
  std::filesystem::path folder;
  Json figures;  // of the last eval; null when stopped before
};

struct TrainOptions {
  bool force = false;  // change a finished run
  std::function<void(const std::vector<std::string>& folders)>
      planned;  // called with all stages in running order, before the first begins
};

/// Runs the plan in config.out (created when absent; empty: the newest unfinished runs/<constitution>-NN with
/// this config, else the next number). Stages that a run of `reuse` has finished from the same inputs and
/// settings are taken over instead of made again, and so are those that this run set aside. Throws UsageError
/// for a finished run that would make a stage again from other inputs or settings, unless options.force.
RunResult train(const Config& config, const std::vector<std::filesystem::path>& reuse,
                const ProgressFn& progress, const TrainOptions& options = {});

/// One line for each file of a run that does not have the hash its manifest states; with `other`, also the
/// first difference between two runs.
std::vector<std::string> verify(const std::filesystem::path& run, const std::filesystem::path& other);

/// Whether set-up or fetch-model downloads a model of this name.
bool is_packaged_model(const std::string& name);

/// The folder or file that a model's name stands for: "smollm2" is the packaged default model. Throws
/// InputError when it is not there, or when `checksums` and a file of it does not have the checksum that its
/// manifest states.
std::filesystem::path find_model(const std::string& name, bool checksums = true);

}  // namespace cai
