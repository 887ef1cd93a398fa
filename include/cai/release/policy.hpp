// What a release must fulfil: release.yaml.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/data/gate.hpp"

namespace cai {

struct ReleasePolicy {
  std::string file, source, sha256;  // sha256 of `source`, the file's text
  std::vector<Gate> conditions;
  long approvals = 1;                 // by different people
  bool author_may_not = false;        // who proposed the version does not count among them
  long oldest_days = 0;               // age of the run's evaluation; 0: any
  std::vector<std::string> required;  // of "report", "verify", "diff"

  bool asks_for(const std::string& what) const;
};

/// Throws one InputError with all problems of the file, each with its line.
ReleasePolicy read_policy(const std::filesystem::path& file);

/// Each demand in words, as the file has it: "attack_success.high <= 30%", "approvals: 2".
std::vector<std::string> demands(const ReleasePolicy& policy);

/// What `now` demands that `then` did not ("new: ..."), and the other way round ("gone: ..."). Empty where
/// only comments or order differ.
std::vector<std::string> policy_changes(const ReleasePolicy& then, const ReleasePolicy& now);

}  // namespace cai
