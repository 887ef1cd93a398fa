// Settings and facts in which two runs differ.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace cai {

struct Difference {
  std::string name;           // "ppo.updates", "constitution.sha256"
  std::string first, second;  // "" where a run has no such setting
};

/// Of config.yaml (without `out`) and run.json (without stages, wall times and seals), in the order of names.
/// Throws InputError where a file cannot be read.
std::vector<Difference> setting_differences(const std::filesystem::path& first,
                                            const std::filesystem::path& second);

}  // namespace cai
