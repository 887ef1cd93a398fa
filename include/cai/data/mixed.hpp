// Whether the stages of a run belong together.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace cai {

/// One line for each finished stage of a run that was made from something else than what the run holds now:
/// another constitution, or a stage that was made again since. None for a folder that is no run.
std::vector<std::string> mixed_stages(const std::filesystem::path& run);

}  // namespace cai
