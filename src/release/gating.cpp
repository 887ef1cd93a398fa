#include "cai/release/gating.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/data/constitution_diff.hpp"
#include "cai/data/mixed.hpp"
#include "cai/data/run_folder.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr long kDay = 24 * 60 * 60;  // seconds

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string with_interval(const GateVerdict& verdict) {
  const std::string value = (verdict.is_difference ? "change " : "") + short_number(verdict.value);
  if (!std::isfinite(verdict.low) || !std::isfinite(verdict.high)) return value + " (no interval)";
  return value + " [" + short_number(verdict.low) + ", " + short_number(verdict.high) + "]";
}

GateRow row_of(const Gate& gate, const Json& figures) {
  const GateVerdict verdict = judge_gate(gate, figures);
  GateRow row{.condition = gate.text, .passed = verdict.passed};
  if (!verdict.missing.empty()) {
    row.value = "none";
    row.used = "none";
    row.note = verdict.missing;
    return row;
  }
  row.value = with_interval(verdict);
  row.used = bound_name(gate, verdict) + " " + short_number(verdict.used);
  if (gate.is_relative && !verdict.is_difference) row.note = "the limit is " + short_number(verdict.limit);
  if (verdict.crosses) row.note = "the interval crosses the limit";
  return row;
}

GateRow age_row(const ReleasedRun& run, long most, long now) {
  GateRow row{.condition = "not_older_than: " + std::to_string(most) + " days"};
  struct stat status;
  if (::stat((run.eval / "manifest.json").c_str(), &status) != 0)
    throw EnvironmentError("cannot inspect " + (run.eval / "manifest.json").string());
  const double days = static_cast<double>(now - status.st_mtime) / kDay;
  char text[64];
  std::snprintf(text, sizeof text, "%.1f days", std::max(0.0, days));
  row.value = text;
  row.used = "age of the evaluation";
  row.passed = days <= static_cast<double>(most);
  return row;
}

GateRow report_row(const ReleasedRun& run) {
  GateRow row{.condition = "require: report", .value = "report.html", .used = "checksum"};
  const fs::path file = run.run / "report.html";
  const std::string expected = run.facts.value("report_sha256", "");
  if (!fs::exists(file))
    row.note = "the run has no report.html";
  else if (expected.empty() || sha256_file(file) != expected)
    row.note = "report.html is not the one that the run wrote";
  row.passed = row.note.empty();
  return row;
}

GateRow verify_row(const ReleasedRun& run) {
  const std::vector<std::string> damage = damage_of(run);
  GateRow row{
      .condition = "require: verify", .value = "every file", .used = "checksum", .passed = damage.empty()};
  if (!damage.empty()) row.note = damage.front();
  if (damage.size() > 1) row.note += ", and " + std::to_string(damage.size() - 1) + " more";
  return row;
}

/// The diff is for those who approve: any diff passes, one that cannot be made does not.
GateRow diff_row(const ReleasedRun& run, const fs::path& production, Json& diff_json) {
  GateRow row{.condition = "require: diff", .used = "version in production", .passed = true};
  const fs::path mine = run.run / "constitution.yaml";
  if (production.empty()) {
    row.value = "no version in production";
    return row;
  }
  const ConstitutionDiff change = diff(read_constitution(production), read_constitution(mine));
  diff_json = to_json(change);
  row.value = change.level == "none"
                  ? "no difference in meaning"
                  : change.level + ", " + std::to_string(change.principles.size()) + " principles";
  return row;
}

}  // namespace

bool GateTable::passed() const {
  return std::all_of(rows.begin(), rows.end(), [](const GateRow& row) { return row.passed; });
}

ReleasedRun read_released_run(const fs::path& folder, const fs::path& checkpoint) {
  if (!fs::exists(folder / "run.json")) throw InputError(folder.string(), 0, "not a run (no run.json)");
  ReleasedRun run{.run = folder, .checkpoint = checkpoint, .facts = read_sealed(folder / "run.json")};
  if (run.facts.value("state", "") != "done")
    throw InputError(folder.string(), 0,
                     "this run is not finished; cai train --out " + folder.string() + " goes on with it");
  const std::vector<fs::path> evals = stage_folders(folder, "eval");
  if (evals.empty()) throw InputError(folder.string(), 0, "this run has no finished evaluation");
  run.eval = evals.back();
  if (fs::absolute(run.eval).parent_path() != fs::absolute(checkpoint).parent_path().parent_path())
    throw InputError(folder.string(), 0, "its last model, " + checkpoint.string() + ", was not evaluated");
  run.figures = read_manifest(run.eval)->figures;
  if (!run.figures.contains("models") || run.figures["models"].empty())
    throw InputError(run.eval.string(), 0, "this evaluation compares no models");
  return run;
}

std::vector<std::string> damage_of(const ReleasedRun& run) {
  std::vector<std::string> lines;
  const Json stages = run.facts.value("stages", Json::object());
  for (const auto& [stage, entry] : stages.items()) {
    if (!entry.is_object() || entry.value("state", "") != "done") continue;
    for (const std::string& line : verify_manifest(run.run / stage))
      lines.push_back(line);
  }
  const Json constitution = run.facts.value("constitution", Json::object());
  const std::string expected = constitution.value("sha256", "");
  if (const std::string line = file_problem(run.run / "constitution.yaml", expected); !line.empty())
    lines.push_back(line);
  for (const std::string& line : mixed_stages(run.run))
    lines.push_back(line);
  return lines;
}

GateTable gate_run(const ReleasedRun& run, const ReleasePolicy& policy, const fs::path& production,
                   long now) {
  GateTable table{.policy_sha256 = policy.sha256};
  for (const Gate& gate : policy.conditions)
    table.rows.push_back(row_of(gate, run.figures));
  if (policy.oldest_days > 0) table.rows.push_back(age_row(run, policy.oldest_days, now));
  if (policy.asks_for("report")) table.rows.push_back(report_row(run));
  if (policy.asks_for("verify")) table.rows.push_back(verify_row(run));
  if (policy.asks_for("diff")) table.rows.push_back(diff_row(run, production, table.diff));
  return table;
}

Json to_json(const GateTable& table) {
  Json rows = Json::array();
  for (const GateRow& row : table.rows)
    rows.push_back({{"condition", row.condition},
                    {"value", row.value},
                    {"used", row.used},
                    {"passed", row.passed},
                    {"note", row.note}});
  return {{"passed", table.passed()}, {"policy", table.policy_sha256}, {"rows", rows}, {"diff", table.diff}};
}

std::vector<GateRow> rows_of(const Json& table) {
  std::vector<GateRow> rows;
  for (const Json& row : table.at("rows"))
    rows.push_back({row.at("condition").get<std::string>(), row.at("value").get<std::string>(),
                    row.at("used").get<std::string>(), row.at("note").get<std::string>(),
                    row.at("passed").get<bool>()});
  return rows;
}

}  // namespace cai
