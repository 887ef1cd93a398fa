// manifest.json: written last and atomically, it says that a stage's folder is complete and what is in it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

struct ManifestFile {
  std::string file;   // relative to the stage's folder
  long records = -1;  // lines of a JSONL shard; -1 for other files
  std::string sha256;
};

struct Manifest {
  std::string stage;
  std::string key;  // hash of everything that determines the output
  std::vector<ManifestFile> files;
  Json figures = Json::object();
  double seconds = 0;  // wall time, summed over interruptions; not part of any hash
};

/// Nothing when there is no manifest; throws InputError on a malformed or damaged one.
std::optional<Manifest> read_manifest(const std::filesystem::path& folder);

void write_manifest(const std::filesystem::path& folder, const Manifest& manifest);

/// One line about a file that is missing or whose SHA-256 is not the expected one; "" when it is. `text`:
/// what it holds, where that was read already.
std::string file_problem(const std::filesystem::path& path, const std::string& expected,
                         const std::string* text = nullptr);

/// Every file is there and has its hash. Returns one line for each that differs.
std::vector<std::string> verify_manifest(const std::filesystem::path& folder);

}  // namespace cai
