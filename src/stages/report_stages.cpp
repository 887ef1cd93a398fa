// What each stage counted, where its time went, and where everything came from.
#include <algorithm>
#include <cmath>

#include "cai/base/text.hpp"
#include "cai/io/manifest.hpp"
#include "cai/stages/report_run.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

bool is_interval(const Json& value) {
  return value.is_object() && value.contains("value") && value.contains("low") && value.contains("high");
}

Cell value_cell(const Json& value) {
  if (value.is_string()) return long_cell(value.get<std::string>());
  if (value.is_number_float()) return {number(value.get<double>(), 4), value.get<double>(), true, false};
  if (value.is_number()) return count_cell(value.get<double>());
  if (value.is_boolean()) return text_cell(value.get<bool>() ? "yes" : "no");
  return long_cell(value.dump());
}

std::string joined(const std::string& name, const std::string& key) {
  const std::string part = key.empty() ? "none" : key;
  return name.empty() ? part : name + ": " + part;
}

// Nothing is told of kinds that no prompt has.
bool is_idle(const std::string& name, const Json& value, bool kinds) {
  const bool of_kinds = name.find("red-team") != name.npos || name.find("red_team") != name.npos ||
                        name.find("borderline") != name.npos;
  return !kinds && of_kinds && value.is_number() && value == 0;
}

// Any figures, flattened: what a stage counted, nothing hidden.
void flat(const Json& value, const std::string& name, bool kinds, Table& table) {
  if (is_interval(value)) {
    table.rows.push_back({text_cell(name), interval_cell(value, false)});
  } else if (value.is_object()) {
    for (const auto& [key, one] : value.items())
      flat(one, joined(name, key), kinds, table);
  } else if (value.is_array() && value.size() > 0 && value.front().is_structured()) {
    for (std::size_t i = 0; i < value.size(); ++i)
      flat(value[i], joined(name, std::to_string(i + 1)), kinds, table);
  } else if (value.is_array()) {
    std::string list;
    for (const Json& one : value)
      list += (list.empty() ? "" : "; ") + (one.is_string() ? one.get<std::string>() : one.dump());
    table.rows.push_back({text_cell(name), long_cell(list.empty() ? "none" : list)});
  } else if (!value.is_null() && !is_idle(name, value, kinds)) {
    table.rows.push_back({text_cell(name), value_cell(value)});
  }
}

std::vector<fs::path> stages_of(const fs::path& iteration) {
  std::vector<fs::path> stages;
  for (const auto& entry : fs::directory_iterator(iteration))
    if (entry.is_directory() && fs::exists(entry.path() / "manifest.json") &&
        entry.path().filename().string().find(".stale") == std::string::npos)
      stages.push_back(entry.path());
  static const std::vector<std::string> order = {"prompts", "generate", "critique",   "revise",
                                                 "sft",     "exam",     "candidates", "label",
                                                 "reward",  "dpo",      "ppo",        "eval"};
  const auto rank = [&](const fs::path& stage) {
    const std::string name = stage.filename().string();
    return std::pair(std::find(order.begin(), order.end(), name.substr(0, name.find('-'))) - order.begin(),
                     name);
  };
  std::sort(stages.begin(), stages.end(),
            [&](const fs::path& a, const fs::path& b) { return rank(a) < rank(b); });
  return stages;
}

void one_stage(Page& page, const fs::path& stage, bool kinds) {
  const auto manifest = read_manifest(stage);
  if (!manifest) return;
  Table table{{"figure", "value"}, {}};
  flat(manifest->figures, "", kinds, table);
  page.add("<details><summary>" + escape(stage.filename().string()) + "</summary>" + table.html() +
           "</details>");
}

// Where the run's time went. The reliability tests cut this part out, for it differs between equal runs.
void time_and_tokens(Page& page, const Json& facts) {
  if (!facts.is_object() || !facts.contains("stages") || !facts["stages"].is_object() ||
      facts["stages"].empty())
    return;
  page.section("time", "Time and tokens by stage");
  Table table{{"stage", "seconds", "records", "tokens", "tokens a second"}, {}};
  double seconds = 0, tokens = 0;
  const auto row = [&](const std::string& name, double s, Cell records, double t) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f", s);
    table.rows.push_back({text_cell(name), Cell{text, s, true, false}, std::move(records), count_cell(t),
                          s > 0 && t > 0 ? count_cell(std::round(t / s)) : text_cell("")});
  };
  for (const auto& [folder, entry] : facts["stages"].items()) {
    if (!entry.is_object()) continue;
    row(folder, field(entry, "seconds"), count_cell(field(entry, "records")), field(entry, "tokens"));
    seconds += field(entry, "seconds"), tokens += field(entry, "tokens");
  }
  row("in all", seconds, text_cell(""), tokens);
  page.add(table.html());
  page.note("Tokens are those that were read (after shared prefixes) and written, or learned from.");
}

}  // namespace

void report_stages(Page& page, const ReportRun& run) {
  page.section("stages", "What each stage counted");
  for (const fs::path& round : run.rounds) {
    if (const std::string name = run.round_name(round); !name.empty()) page.heading(name);
    for (const fs::path& stage : stages_of(round))
      one_stage(page, stage, has_kinds(round));
  }
  time_and_tokens(page, run.facts);
}

void report_provenance(Page& page, const ReportRun& run) {
  page.section("provenance", "Provenance");
  Json facts = run.facts;
  if (facts.is_object()) {
    facts.erase("report_sha256");  // of this page
    facts.erase("stages");         // shown above; the keys' ingredients stay in run.json
  }
  Table table{{"fact", "value"}, {}};
  flat(facts, "", true, table);
  page.add(table.html());
  const std::string name = run.folder.filename().string();
  page.add(
      "<p>Repeat the run: <code>cai train --config RUN/config.yaml --out NEW</code>. Check its files against "
      "their hashes: <code>cai verify RUN</code>. RUN is this folder, " +
      escape(name) + ".</p>");
}

}  // namespace cai
