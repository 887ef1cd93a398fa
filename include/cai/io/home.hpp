// Where the program's own files are.
#pragma once

#include <filesystem>

namespace cai {

/// The folder that holds constitutions/, prompts/, scripts/ and .deps/: CAI_HOME, else a parent of the
/// program, else the current folder.
std::filesystem::path home();

}  // namespace cai
