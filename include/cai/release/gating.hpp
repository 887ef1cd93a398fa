// A run against a release policy: a table of what holds and what does not.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/io/json.hpp"
#include "cai/release/policy.hpp"

namespace cai {

/// A condition as it was judged.
struct GateRow {
  std::string condition;
  std::string value;  // "0.25 [0.15, 0.37]"
  std::string used;   // "upper end of the interval 0.37"
  std::string note;   // why it fails where no figure says so, or what to know
  bool passed = false;
};

struct GateTable {
  std::vector<GateRow> rows;
  std::string policy_sha256;
  Json
      diff;  // of the constitution against the version in production, where the policy requires it; else null

  bool passed() const;
};

/// What of a run a release is made from.
struct ReleasedRun {
  std::filesystem::path run;
  std::filesystem::path checkpoint;  // of the run's last finished training stage
  std::filesystem::path eval;        // folder of the last evaluation
  Json facts;                        // run.json
  Json figures;                      // of eval
};

/// Throws InputError for a folder that is no finished run, or whose last checkpoint was not evaluated.
ReleasedRun read_released_run(const std::filesystem::path& run, const std::filesystem::path& checkpoint);

/// `production`: the constitution of the version in production, empty where there is none; `now`: seconds
/// since 1970.
GateTable gate_run(const ReleasedRun& run, const ReleasePolicy& policy,
                   const std::filesystem::path& production, long now);

/// One line for each file of the run that is not as its checksum says, and for stages that do not belong
/// together.
std::vector<std::string> damage_of(const ReleasedRun& run);

Json to_json(const GateTable& table);

/// Rows of to_json's object.
std::vector<GateRow> rows_of(const Json& table);

}  // namespace cai
