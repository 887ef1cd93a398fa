// metrics.jsonl: what training wrote, one line a step.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// The stages of an iteration that wrote metrics, in the order in which they ran.
std::vector<std::string> stages_with_metrics(const std::filesystem::path& iteration);

/// The lines of a stage's metrics.jsonl; of a stage at work without a last one that is half written. Throws
/// InputError on a line that is no JSON.
std::vector<Json> read_metrics(const std::filesystem::path& stage);

}  // namespace cai
