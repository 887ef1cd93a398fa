// What is where in a run's folder, for those who read a run afterwards.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// Folders of the iterations, iter-01 first; none when `run` is not a run.
std::vector<std::filesystem::path> iterations_of(const std::filesystem::path& run);

/// The folders of one stage ("label"; "revise" for its last round), one an iteration, where that stage is
/// finished.
std::vector<std::filesystem::path> stage_folders(const std::filesystem::path& run, const std::string& stage);

/// Whether a record is what label writes: texts prompt, a and b, and p from 0 to 1.
bool is_label(const Json& record);

/// Label records of a run (of all iterations, `iteration` added to each), of a label stage's folder or of a
/// JSONL file. Throws InputError when there are none, or something else.
std::vector<Json> read_labels(const std::filesystem::path& path);

}  // namespace cai
