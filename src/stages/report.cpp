#include "cai/stages/report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <vector>

#include "cai/base/error.hpp"
#include "cai/data/run_folder.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/io/manifest.hpp"
#include "cai/io/records.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/report_eval.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

Json figures_of(const fs::path& folder) {
  const auto m = fs::exists(folder) ? read_manifest(folder) : std::nullopt;
  return m ? m->figures : Json();
}

void curves(Page& page, const fs::path& iteration) {
  const std::map<std::string, std::vector<std::pair<std::string, std::string>>> wanted = {
      {"sft", {{"loss", "sft: loss"}, {"gradient_norm", "sft: gradient norm"}}},
      {"reward", {{"loss", "reward: loss"}, {"accuracy", "reward: accuracy on the batch"}}},
      {"ppo", {{"score", "ppo: score"}, {"kl", "ppo: KL to the reference, nats a sequence"}, {"entropy", "ppo: entropy, nats a token"}, {"length", "ppo: length, tokens"},
               {"stop_rate", "ppo: share that ends"}, {"explained_variance", "ppo: explained variance of the value model"}}},
      {"dpo", {{"loss", "dpo: loss"}, {"accuracy", "dpo: accuracy on the batch"}, {"preferred_log_ratio", "dpo: log-ratio of preferred answers"}, {"other_log_ratio", "dpo: log-ratio of the others"}}}};
  std::string all;
  for (const char* stage : {"sft", "reward", "ppo", "dpo"}) {
    const fs::path file = iteration / stage / "metrics.jsonl";
    if (!fs::exists(file)) continue;
    const std::vector<Json> lines = read_records(file);
    for (const auto& [name, title] : wanted.at(stage)) {
      std::vector<double> values;
      for (const Json& line : lines)
        if (line.contains(name) && line[name].is_number()) values.push_back(line[name].get<double>());
      all += curve(title, values);
    }
  }
  if (all.empty()) return;
  page.heading("Curves");
  page.add("<div class=cards>" + all + "</div>");
}

void examples(Page& page, const fs::path& iteration, long most) {
  fs::path last;
  for (int round = 1; fs::exists(iteration / ("revise-" + std::to_string(round)) / "manifest.json"); ++round) last = iteration / ("revise-" + std::to_string(round));
  if (last.empty() || most == 0) return;
  page.heading("Examples: critique and revision");
  page.add("<p class=soft>Red-team prompts and the first answers to them can be unpleasant; they are folded.</p>");
  long shown = 0;
  for (const Json& r : read_records(last)) {
    if (shown == most) break;
    if (optional_text(r, "principle").empty()) continue;
    ++shown;
    const std::string problem = optional_text(r, "revision_problem");
    page.add("<details><summary>" + escape(optional_text(r, "id")) + ": principle " + escape(optional_text(r, "principle")) + (problem.empty() ? "" : " (left out: " + escape(problem) + ")") + "</summary><div class=cards>");
    for (const auto& [name, title] : {std::pair<const char*, const char*>{"prompt", "prompt"}, {"response", "first answer"}, {"critique", "critique"}, {"revision", "revision"}})
      page.add("<div class=card><b>" + std::string(title) + "</b>" + escape(optional_text(r, name)) + "</div>");
    page.add("</div></details>");
  }
}

void counts(Page& page, const std::string& title, const Json& table) {
  if (!table.is_object() || table.empty()) return;
  double most = 1;
  for (const auto& [name, n] : table.items())
    if (n.is_number()) most = std::max(most, n.get<double>());
  page.add("<h3>" + escape(title) + "</h3><div class=scroll><table>");
  for (const auto& [name, n] : table.items()) {
    if (!n.is_number()) continue;
    char width[32];
    std::snprintf(width, sizeof width, "%.0f%%", 100 * n.get<double>() / most);
    page.add("<tr><td>" + escape(name.empty() ? "none" : name) + "</td><td class=n>" + number(n.get<double>(), 6) + "</td><td><div class=bar style=\"width:" + width + "\"></div></td></tr>");
  }
  page.add("</table></div>");
}

// What the judge was worth before and after fine-tuning, by part of the exam.
void exam_table(Page& page, const Json& exam) {
  if (!exam.contains("judges") || !exam["judges"].is_object()) return;
  const std::map<std::string, std::string> judges = {{"before", "before fine-tuning"}, {"after", "after fine-tuning"}}, parts = {{"constitution", "the constitution's tests and exemplars"}, {"people", "people's pairs"}};
  const auto word = [](const std::map<std::string, std::string>& words, const std::string& name) { return escape(words.contains(name) ? words.at(name) : name); };
  std::vector<std::string> names;
  for (const char* name : {"before", "after"})
    if (exam["judges"].contains(name)) names.push_back(name);
  for (const auto& [name, figures] : exam["judges"].items())
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  page.add("<div class=scroll><table><tr><th>part</th><th>judge</th><th>right</th><th>took the first answer</th><th>calibration error</th></tr>");
  for (const char* part : {"constitution", "people"})
    for (const std::string& name : names)
      if (const Json& mine = exam["judges"][name]; mine.contains(part)) {
        const Json& f = mine.at(part);
        page.add("<tr><td>" + word(parts, part) + "</td><td>" + word(judges, name) + "</td>" + interval_cell(f.at("accuracy"), true) + interval_cell(f.at("first_slot"), true) + "<td class=n>" + number(field(f, "calibration_error"), 2) + "</td></tr>");
      }
  page.add("</table></div><p class=soft>Each pair is asked in both orders; 50 % of first answers is unbiased. The calibration error is the mean distance of P(better) from the share that was better, over ten bins.</p>");
}

// Where the run's time went.
void time_and_tokens(Page& page, const Json& facts) {
  if (!facts.contains("stages") || !facts["stages"].is_object() || facts["stages"].empty()) return;
  page.heading("Time and tokens by stage");
  page.add("<div class=scroll><table><tr><th>stage</th><th>seconds</th><th>records</th><th>tokens</th><th>tokens a second</th></tr>");
  double seconds = 0, tokens = 0;
  const auto row = [&](const std::string& name, double s, const std::string& records, double t) {
    page.add("<tr><td>" + escape(name) + "</td><td class=n>" + number(s, 4) + "</td><td class=n>" + records + "</td><td class=n>" + number(t, 7) + "</td><td class=n>" + (s > 0 && t > 0 ? number(std::round(t / s), 9) : "") + "</td></tr>");
  };
  for (const auto& [folder, entry] : facts["stages"].items()) {
    if (!entry.is_object()) continue;
    row(folder, field(entry, "seconds"), number(field(entry, "records"), 7), field(entry, "tokens"));
    seconds += field(entry, "seconds"), tokens += field(entry, "tokens");
  }
  row("in all", seconds, "", tokens);
  page.add("</table></div><p class=soft>Tokens are those that were read (after shared prefixes) and written, or learned from.</p>");
}

// Any figures, flattened: what a stage counted, nothing hidden.
void flat(const Json& value, const std::string& name, std::string& rows) {
  if (value.is_object()) {
    if (value.contains("value") && value.contains("low") && value.contains("high")) {
      rows += "<tr><td>" + escape(name) + "</td><td class=n>" + number(field(value, "value"), 4) + "<span class=ci>" + number(field(value, "low"), 4) + " to " + number(field(value, "high"), 4) + ", n " + number(field(value, "n"), 6) + "</span></td></tr>";
      return;
    }
    for (const auto& [key, inner] : value.items()) flat(inner, name.empty() ? key : name + ", " + key, rows);
  } else if (!value.is_null()) {
    rows += "<tr><td>" + escape(name) + "</td><td class=n>" + escape(value.is_string() ? value.get<std::string>() : value.is_number_float() ? number(value.get<double>(), 4) : value.dump()) + "</td></tr>";
  }
}

}  // namespace

static std::string page_of(const fs::path& run, const Json& facts, const ReportConfig& config) {
  Page page;
  const std::string name = fs::weakly_canonical(run).filename().string();
  page.add("<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\">"
           "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"><title>" + escape(name) + "</title><style>" + kReportStyle + "</style></head><body>");
  page.add("<h1>" + escape(name) + "</h1>");
  const std::vector<fs::path> rounds = iterations_of(run);
  page.add("<p>A language model, trained to follow a written constitution: it answered prompts, criticised and revised its answers under one principle at a time, learned from the revisions, "
           "and was then trained by reinforcement learning on AI preferences. " + std::to_string(rounds.size()) + (rounds.size() == 1 ? " iteration." : " iterations.") + "</p>");
  if (facts.contains("state")) page.add("<p class=soft>State: " + escape(facts["state"].is_string() ? facts["state"].get<std::string>() : "") + "</p>");
  for (const fs::path& iteration : rounds) {
    if (rounds.size() > 1) page.add("<h1>" + escape(iteration.filename().string()) + "</h1>");
    report_eval(page, figures_of(iteration / "eval"));
    curves(page, iteration);
    if (const Json exam = figures_of(iteration / "exam"); exam.is_object() && exam.contains("sentence")) {
      page.heading("exam: what the judge is worth");
      page.add("<p>" + escape(exam["sentence"].is_string() ? exam["sentence"].get<std::string>() : "") + "</p>");
      exam_table(page, exam);
      const Json label = figures_of(iteration / "label");
      if (optional_text(label.is_object() && label.contains("method") ? label : exam, "method") == "contrast")
        page.add("<p>Labels were therefore made by contrast: one candidate was written under a principle, one under its opposite, others without an instruction; the label is which of two does what the request asks for, declining a harmful one and answering a harmless one. Where both do or both do not, the side that was asked for under the principle is taken.</p>");
    }
    page.heading("Principles: how often each was drawn and decided");
    Json drawn = Json::object();
    for (int round = 1; fs::exists(iteration / ("critique-" + std::to_string(round))); ++round)
      if (const Json f = figures_of(iteration / ("critique-" + std::to_string(round))); f.is_object())
        for (const char* key : {"by_principle", "principle", "principles"})
          if (f.contains(key) && f[key].is_object())
            for (const auto& [id, n] : f[key].items())
              if (n.is_number()) drawn[id] = (drawn.contains(id) ? drawn[id].get<double>() : 0) + n.get<double>();
    counts(page, "drawn for critique", drawn);
    if (const Json f = figures_of(iteration / "label"); f.is_object())
      for (const char* key : {"decisions", "by_principle", "decided_by", "principles"})
        if (f.contains(key)) counts(page, "decided a label", f[key]);
    examples(page, iteration, config.examples);
    page.heading("What each stage counted");
    std::vector<fs::path> stages;
    for (const auto& entry : fs::directory_iterator(iteration))
      if (entry.is_directory() && fs::exists(entry.path() / "manifest.json") && entry.path().filename().string().find(".stale") == std::string::npos) stages.push_back(entry.path());
    std::sort(stages.begin(), stages.end());
    for (const fs::path& stage : stages) {
      const auto manifest = read_manifest(stage);
      if (!manifest) continue;
      std::string rows;
      flat(manifest->figures, "", rows);
      page.add("<details><summary>" + escape(stage.filename().string()) + ", " + number(manifest->seconds, 4) + " s of wall time</summary><div class=scroll><table>" + rows + "</table></div></details>");
    }
  }
  time_and_tokens(page, facts);
  page.heading("Provenance");
  std::string rows;
  Json provenance = facts;
  if (provenance.is_object()) {
    provenance.erase("report_sha256");  // of this page
    provenance.erase("stages");         // shown above; the keys' ingredients stay in run.json
  }
  flat(provenance, "", rows);
  page.add("<div class=scroll><table>" + rows + "</table></div>");
  page.add("<p class=soft>config.yaml in this folder repeats the run: <code>cai train --config " + escape(name) + "/config.yaml</code></p></body></html>");
  return page.html;
}

std::string report_html(const fs::path& run, const Json& facts, const ReportConfig& config) {
  try {
    return page_of(run, facts, config);
  } catch (const Json::exception& e) {
    throw InputError(run.string(), 0, std::string("a manifest or record of this run is not of the expected form (") + e.what() + ")");
  }
}

}  // namespace cai
