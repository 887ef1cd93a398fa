#include <algorithm>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/data/mixed.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"
#include "cai/pipeline/plan.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/pipeline/snapshots.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

/// Stage folders that are finished, relative to the run. Those set aside do not count.
std::vector<std::string> finished_stages(const fs::path& run) {
  if (!fs::is_directory(run)) throw InputError(run.string() + ": no such folder");
  std::vector<std::string> stages;
  if (fs::exists(run / "manifest.json")) stages.push_back(".");
  for (auto entry = fs::recursive_directory_iterator(run); entry != fs::recursive_directory_iterator();
       ++entry) {
    if (!entry->is_directory()) continue;
    bool is_stale = entry->path().filename().string().find(".stale-") != std::string::npos;
    if (is_stale || entry.depth() > 1) entry.disable_recursion_pending();
    if (!is_stale && fs::exists(entry->path() / "manifest.json"))
      stages.push_back(fs::relative(entry->path(), run).string());
  }
  // In running order where the run tells it, so that the first difference is the one that caused the others.
  Json order = Json::object();
  try {
    order = read_run_json(run).value("stages", Json::object());
  } catch (const InputError&) {  // told by check_run
  }
  auto rank = [&](const std::string& stage) { return std::distance(order.begin(), order.find(stage)); };
  std::sort(stages.begin(), stages.end(),
            [&](const auto& a, const auto& b) { return std::pair(rank(a), a) < std::pair(rank(b), b); });
  return stages;
}

/// Where two texts of records first differ: "line 12 (id rt-3), field response".
std::string first_difference(const fs::path& a, const fs::path& b) {
  std::vector<std::string> left = split(read_file(a), '\n'), right = split(read_file(b), '\n');
  for (std::size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
    std::string where = "line " + std::to_string(i + 1);
    if (i >= left.size() || i >= right.size()) return where + " is in one of them only";
    if (left[i] == right[i]) continue;
    Json first = parse_json(left[i], a.string(), static_cast<long>(i) + 1),
         second = parse_json(right[i], b.string(), static_cast<long>(i) + 1);
    if (!first.is_object() || !second.is_object()) return where;
    if (first.contains("id") && first["id"].is_string())
      where += " (id " + printable(first["id"].get<std::string>()) + ")";
    for (const auto& [name, value] : first.items()) {
      if (!second.contains(name) || second[name] != value) return where + ", field " + printable(name);
    }
    return where;
  }
  return "the same lines";
}

/// The first difference between two stages' folders, "" when there is none.
std::string compare_stage(const fs::path& a, const fs::path& b, const std::string& stage) {
  Manifest first = *read_manifest(a / stage), second = *read_manifest(b / stage);
  std::map<std::string, std::string> files;
  for (const ManifestFile& file : second.files)
    files[file.file] = file.sha256;
  for (const ManifestFile& file : first.files) {
    auto other = files.find(file.file);
    std::string name = stage + "/" + file.file;
    if (other == files.end()) return name + ": only in " + a.string();
    if (other->second != file.sha256) {
      return name + " differs" +
             (file.file.ends_with(".jsonl")
                  ? ": " + first_difference(a / stage / file.file, b / stage / file.file)
                  : "");
    }
    files.erase(other);
  }
  if (!files.empty()) return stage + "/" + files.begin()->first + ": only in " + b.string();
  if (first.key != second.key)
    return stage + ": same files, made from different inputs or settings (keys differ)";
  return "";
}

}  // namespace

namespace {

/// Stages that do not belong together; a run.json that cannot be read is told by check_run.
std::vector<std::string> mixed_of(const fs::path& run) {
  try {
    return mixed_stages(run);
  } catch (const InputError&) {
    return {};
  }
}

/// What stands in the run's folder itself: run.json, config.yaml, constitution.yaml, the report, and that no
/// finished stage is gone.
void check_run(const fs::path& run, std::vector<std::string>& lines) {
  if (!fs::exists(run / "run.json")) return;
  Json facts = Json::object();
  try {
    facts = read_run_json(run);
    if (fs::exists(run / "config.yaml")) load_config(run / "config.yaml", {});
  } catch (const InputError& damaged) {
    lines.push_back(damaged.what());
  }
  auto compare = [&](const char* file, const Json& expected) {
    if (!expected.is_string() || !fs::exists(run / file)) return;
    if (sha256_file(run / file) != expected.get<std::string>())
      lines.push_back((run / file).string() + ": SHA-256 differs from the one in run.json");
  };
  for (std::string& line : changed_copies(run, facts))
    lines.push_back(std::move(line));
  compare("report.html", facts.value("report_sha256", Json()));  // none in a run that goes on just now
  const Json stages = facts.value("stages", Json::object());
  for (const auto& [stage, entry] : stages.items()) {
    if (entry.is_object() && entry.value("state", "") == "done" && !fs::exists(run / stage / "manifest.json"))
      lines.push_back((run / stage).string() + ": no manifest.json, but run.json lists this stage as done");
  }
}

}  // namespace

std::vector<std::string> verify(const fs::path& run, const fs::path& other) {
  std::vector<std::string> lines;
  auto check = [&](const fs::path& root, const std::vector<std::string>& stages) {
    if (stages.empty()) throw InputError(root.string() + ": holds no finished stage (no manifest.json)");
    check_run(root, lines);
    for (const std::string& line : mixed_of(root))
      lines.push_back(line);
    for (const std::string& stage : stages) {
      for (const std::string& line : verify_manifest(root / stage))
        lines.push_back(line);
    }
  };
  std::vector<std::string> stages = finished_stages(run);
  check(run, stages);
  if (other.empty()) return lines;
  std::vector<std::string> others = finished_stages(other);
  check(other, others);
  if (!lines.empty()) return lines;  // damaged files are told before differences
  for (const std::string& stage : stages) {
    bool in_both = std::find(others.begin(), others.end(), stage) != others.end();
    std::string line = in_both ? compare_stage(run, other, stage) : stage + ": only in " + run.string();
    if (!line.empty()) {
      lines.push_back(line);
      return lines;
    }
  }
  for (const std::string& stage : others) {
    if (std::find(stages.begin(), stages.end(), stage) == stages.end()) {
      lines.push_back(stage + ": only in " + other.string());
      return lines;
    }
  }
  return lines;
}

}  // namespace cai
