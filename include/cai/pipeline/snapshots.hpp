// A run's own copies of its constitution and prompt files, so that RUN/config.yaml repeats the run from any
// folder, also after the files were changed or deleted.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/pipeline/inputs.hpp"

namespace cai {

/// Where a run keeps its copies of the prompt files, relative to its folder: "inputs/mine.jsonl". Names are
/// unique.
std::vector<std::string> prompt_copies(const std::vector<PromptFile>& files);

/// Copies the prompt files into the run's folder. An earlier copy that differs is kept as *.stale-N. Throws
/// InputError where a file changed since it was read.
void copy_prompts(const std::vector<PromptFile>& files, const std::filesystem::path& run);

/// The settings as RUN/config.yaml has them: constitution and prompts are the run's copies, relative to
/// `base`; other files and models of one's own have absolute paths.
Config repeatable_config(const RunInputs& inputs, const std::filesystem::path& base);

/// Throws InputError where `file` is a finished run's copy and is not as the run wrote it. `sha256` is the
/// file's.
void check_copy(const std::filesystem::path& file, const std::string& sha256);

/// Lines on copies in the run's folder that are not as run.json says.
std::vector<std::string> changed_copies(const std::filesystem::path& run, const Json& run_json);

/// Renames `file`, if it is there with another text, to NAME.stale-N: what was made from it stays
/// explainable.
void keep_earlier(const std::filesystem::path& file, const std::string& now);

}  // namespace cai
