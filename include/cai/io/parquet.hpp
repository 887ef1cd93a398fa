// Parquet files, read by a helper program in Python (scripts/parquet), which uses Apache Arrow.
#pragma once

#include <filesystem>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// The rows of a Parquet file as records, in order. Throws InputError when the file cannot be read,
/// EnvironmentError when the helper is not installed: it names the command that installs it.
std::vector<Json> read_parquet(const std::filesystem::path& path);

}  // namespace cai
