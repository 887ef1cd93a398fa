#include "cai/io/manifest.hpp"

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

// A manifest lists what lies in its own folder and nothing else on the machine.
bool is_below(const fs::path& file) {
  if (file.empty() || file.is_absolute()) return false;
  for (const fs::path& part : file)
    if (part == "..") return false;
  return true;
}

}  // namespace

std::optional<Manifest> read_manifest(const fs::path& folder) {
  const fs::path path = folder / "manifest.json";
  if (!fs::exists(path)) return std::nullopt;
  const Json json = read_sealed(path);
  try {
    Manifest m;
    m.stage = json.at("stage").get<std::string>();
    m.key = json.at("key").get<std::string>();
    for (const Json& file : json.at("files")) {
      m.files.push_back({file.at("file").get<std::string>(), file.value("records", -1L),
                         file.at("sha256").get<std::string>()});
      if (!is_below(m.files.back().file))
        throw InputError(path.string(), 0,
                         "the file " + in_quotes(m.files.back().file) + " is not in this folder");
    }
    m.figures = json.at("figures");
    m.seconds = json.value("seconds", 0.0);
    return m;
  } catch (const Json::exception&) {
    throw InputError(path.string(), 1,
                     "not a manifest; expected stage, key, files [{file, records, sha256}], figures");
  }
}

void write_manifest(const fs::path& folder, const Manifest& m) {
  Json json = {{"stage", m.stage},
               {"key", m.key},
               {"files", Json::array()},
               {"figures", m.figures},
               {"seconds", m.seconds}};
  for (const ManifestFile& file : m.files) {
    Json entry = {{"file", file.file}};
    if (file.records >= 0) entry["records"] = file.records;
    entry["sha256"] = file.sha256;
    json["files"].push_back(entry);
  }
  write_sealed(folder / "manifest.json", json);
}

std::string file_problem(const fs::path& path, const std::string& expected, const std::string* text) {
  if (!text && !fs::exists(path)) return path.string() + ": missing";
  const std::string hash = text ? sha256(*text) : sha256_file(path);
  if (hash == expected) return "";
  return path.string() + ": SHA-256 is " + hash.substr(0, 12) + "..., the manifest says " +
         expected.substr(0, 12) + "...";
}

std::vector<std::string> verify_manifest(const fs::path& folder) {
  std::vector<std::string> problems;
  std::optional<Manifest> manifest;
  try {
    manifest = read_manifest(folder);
  } catch (const InputError& damaged) {
    return {damaged.what()};
  }
  if (!manifest) return {folder.string() + ": no manifest.json"};
  for (const ManifestFile& file : manifest->files)
    if (const std::string problem = file_problem(folder / file.file, file.sha256); !problem.empty())
      problems.push_back(problem);
  return problems;
}

}  // namespace cai
