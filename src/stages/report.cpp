#include "cai/stages/report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <vector>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/run_folder.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/io/manifest.hpp"
#include "cai/io/records.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/report_eval.hpp"
#include "cai/stages/verdict.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

Json figures_of(const fs::path& folder) {
  const auto m = fs::exists(folder) ? read_manifest(folder) : std::nullopt;
  return m ? m->figures : Json();
}

// Metrics of a stage; of one at work without a last line that is half written.
std::vector<Json> whole_lines(const fs::path& file, bool is_finished) {
  if (is_finished) return read_records(file);
  std::vector<Json> lines;
  const std::string text = read_file(file);
  for (const std::string& line : split(text.substr(0, text.rfind('\n') + 1), '\n'))
    if (!line.empty()) lines.push_back(parse_json(line, file.string()));
  return lines;
}

void curves(Page& page, const fs::path& iteration) {
  const std::map<std::string, std::vector<std::pair<std::string, std::string>>> wanted = {
      {"sft", {{"loss", "sft: loss"}, {"gradient_norm", "sft: gradient norm"}}},
      {"reward", {{"loss", "reward: loss"}, {"accuracy", "reward: accuracy on the batch"}}},
      {"ppo",
       {{"score", "ppo: score"},
        {"kl", "ppo: KL to the reference, nats a sequence"},
        {"entropy", "ppo: entropy, nats a token"},
        {"length", "ppo: length, tokens"},
        {"stop_rate", "ppo: share that ends"},
        {"explained_variance", "ppo: explained variance of the value model"}}},
      {"dpo",
       {{"loss", "dpo: loss"},
        {"accuracy", "dpo: accuracy on the batch"},
        {"preferred_log_ratio", "dpo: log-ratio of preferred answers"},
        {"other_log_ratio", "dpo: log-ratio of the others"}}}};
  std::string all;
  for (const char* stage : {"sft", "reward", "ppo", "dpo"}) {
    const fs::path file = iteration / stage / "metrics.jsonl";
    if (!fs::exists(file)) continue;
    const std::vector<Json> lines = whole_lines(file, fs::exists(iteration / stage / "manifest.json"));
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
  for (int round = 1; fs::exists(iteration / ("revise-" + std::to_string(round)) / "manifest.json"); ++round)
    last = iteration / ("revise-" + std::to_string(round));
  if (last.empty() || most == 0) return;
  page.heading("Examples: critique and revision");
  page.add(
      "<p class=soft>Red-team prompts and the first answers to them can be unpleasant; they are folded.</p>");
  long shown = 0;
  for (const Json& r : read_records(last)) {
    if (shown == most) break;
    if (optional_text(r, "principle").empty()) continue;
    ++shown;
    const std::string problem = optional_text(r, "revision_problem");
    page.add("<details><summary>" + escape(optional_text(r, "id")) + ": principle " +
             escape(optional_text(r, "principle")) +
             (problem.empty() ? "" : " (left out: " + escape(problem) + ")") + "</summary><div class=cards>");
    for (const auto& [name, title] : {std::pair<const char*, const char*>{"prompt", "prompt"},
                                      {"response", "first answer"},
                                      {"critique", "critique"},
                                      {"revision", "revision"}})
      page.add("<div class=card><b>" + std::string(title) + "</b>" + escape(optional_text(r, name)) +
               "</div>");
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
    page.add("<tr><td>" + escape(name.empty() ? "none" : name) + "</td><td class=n>" +
             number(n.get<double>(), 6) + "</td><td><div class=bar style=\"width:" + width +
             "\"></div></td></tr>");
  }
  page.add("</table></div>");
}

// What the judge was worth before and after fine-tuning, by part of the exam.
void exam_table(Page& page, const Json& exam) {
  if (!exam.contains("judges") || !exam["judges"].is_object()) return;
  const std::map<std::string, std::string> judges = {{"before", "before fine-tuning"},
                                                     {"after", "after fine-tuning"}},
                                           parts = {
                                               {"constitution", "the constitution's tests and exemplars"},
                                               {"people", "people's pairs"}};
  const auto word = [](const std::map<std::string, std::string>& words, const std::string& name) {
    return escape(words.contains(name) ? words.at(name) : name);
  };
  std::vector<std::string> names;
  for (const char* name : {"before", "after"})
    if (exam["judges"].contains(name)) names.push_back(name);
  for (const auto& [name, figures] : exam["judges"].items())
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  page.add(
      "<div class=scroll><table><tr><th>part</th><th>judge</th><th>right</th><th>took the first "
      "answer</th><th>calibration error</th></tr>");
  for (const char* part : {"constitution", "people"})
    for (const std::string& name : names)
      if (const Json& mine = exam["judges"][name]; mine.contains(part)) {
        const Json& f = mine.at(part);
        page.add("<tr><td>" + word(parts, part) + "</td><td>" + word(judges, name) + "</td>" +
                 interval_cell(f.at("accuracy"), true) + interval_cell(f.at("first_slot"), true) +
                 "<td class=n>" + number(field(f, "calibration_error"), 2) + "</td></tr>");
      }
  page.add(
      "</table></div><p class=soft>Each pair is asked in both orders; 50 % of first answers is unbiased. The "
      "calibration error is the mean distance of P(better) from the share that was better, over ten "
      "bins.</p>");
}

// Where the run's time went.
void time_and_tokens(Page& page, const Json& facts) {
  if (!facts.contains("stages") || !facts["stages"].is_object() || facts["stages"].empty()) return;
  page.heading("Time and tokens by stage");
  page.add(
      "<div class=scroll><table><tr><th>stage</th><th>seconds</th><th>records</th><th>tokens</th><th>tokens "
      "a second</th></tr>");
  double seconds = 0, tokens = 0;
  const auto row = [&](const std::string& name, double s, const std::string& records, double t) {
    page.add("<tr><td>" + escape(name) + "</td><td class=n>" + number(s, 4) + "</td><td class=n>" + records +
             "</td><td class=n>" + number(t, 7) + "</td><td class=n>" +
             (s > 0 && t > 0 ? number(std::round(t / s), 9) : "") + "</td></tr>");
  };
  for (const auto& [folder, entry] : facts["stages"].items()) {
    if (!entry.is_object()) continue;
    row(folder, field(entry, "seconds"), number(field(entry, "records"), 7), field(entry, "tokens"));
    seconds += field(entry, "seconds"), tokens += field(entry, "tokens");
  }
  row("in all", seconds, "", tokens);
  page.add(
      "</table></div><p class=soft>Tokens are those that were read (after shared prefixes) and written, or "
      "learned from.</p>");
}

// Any figures, flattened: what a stage counted, nothing hidden.
void flat(const Json& value, const std::string& name, std::string& rows) {
  if (value.is_object()) {
    if (value.contains("value") && value.contains("low") && value.contains("high")) {
      rows += "<tr><td>" + escape(name) + "</td>" + interval_cell(value, false) + "</tr>";
      return;
    }
    for (const auto& [key, inner] : value.items())
      flat(inner, name.empty() ? key : name + ", " + key, rows);
  } else if (!value.is_null()) {
    rows += "<tr><td>" + escape(name) + "</td><td class=n>" +
            escape(value.is_string()         ? value.get<std::string>()
                   : value.is_number_float() ? number(value.get<double>(), 4)
                                             : value.dump()) +
            "</td></tr>";
  }
}

// What was done, by the stages that the last iteration has: a run in progress has fewer.
std::string what_was_done(const std::vector<fs::path>& rounds) {
  if (rounds.empty()) return "A run that has not begun its first stage.";
  const auto has = [&](const char* stage) { return fs::exists(rounds.back() / stage / "manifest.json"); };
  std::string text = "A language model, trained to follow a written constitution: ";
  text += has("critique-1") ? "it answered prompts and criticised and revised its answers to harmful ones "
                              "under one principle at a time"
                            : "it answered prompts";
  if (has("sft")) text += ", then was fine-tuned on the result (SL-CAI)";
  const Json labels = figures_of(rounds.back() / "label");
  const bool by_rule = labels.is_object() && optional_text(labels, "method") == "contrast";
  if (has("label"))
    text += by_rule ? ". Pairs of answers were labelled by the kind of the request: decline harmful ones, "
                      "answer the others"
                    : ". Pairs of answers were labelled by a judging model";
  if (has("dpo"))
    text += ". It was then trained on these labels by direct preference optimisation (DPO)";
  else if (has("ppo"))
    text +=
        ". It was then trained by reinforcement learning (PPO) on a reward model of these labels (RL-CAI)";
  else if (has("reward"))
    text += ". A reward model was trained on these labels; no reinforcement learning followed";
  return text + ". " + std::to_string(rounds.size()) + (rounds.size() == 1 ? " iteration." : " iterations.");
}

void list(Page& page, const std::string& title, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  page.add("<h3>" + escape(title) + "</h3><ul>");
  for (const std::string& line : lines)
    page.add("<li>" + escape(line) + "</li>");
  page.add("</ul>");
}

// First what a person looks for: do the gates hold, what changed, what to be careful with.
void summary(Page& page, const std::vector<fs::path>& rounds, const Json& facts) {
  std::vector<std::string> gates, warnings;
  if (const auto failed = facts.find("failed_gates"); failed != facts.end() && failed->is_array())
    for (const Json& gate : *failed)
      gates.push_back(gate.is_string() ? gate.get<std::string>() : "");
  list(page, "Failed gates", gates);
  if (rounds.empty()) return;
  list(page, "What changed, first model to last", verdict(figures_of(rounds.back() / "eval")));
  for (const fs::path& round : rounds)
    for (const char* stage : {"generate", "reward", "eval"})
      for (const std::string& warning :
           warnings_of(rounds.size() > 1 ? round.filename().string() + "/" + stage : stage,
                       figures_of(round / stage)))
        warnings.push_back(warning);
  list(page, "Warnings", warnings);
}

}  // namespace

static std::string page_of(const fs::path& run, const Json& facts, const ReportConfig& config) {
  Page page;
  const std::string name = fs::weakly_canonical(run).filename().string();
  page.add(
      "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport "
      "content=\"width=device-width,initial-scale=1\">"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "img-src data:\"><title>" +
      escape(name) + "</title><style>" + kReportStyle + "</style></head><body>");
  page.add("<h1>" + escape(name) + "</h1>");
  const std::vector<fs::path> rounds = iterations_of(run);
  page.add("<p>" + escape(what_was_done(rounds)) + "</p>");
  if (const std::string state = facts.is_object() ? optional_text(facts, "state") : "";
      !state.empty() && state != "done")
    page.add("<p><b>State: " + escape(state) + ".</b> This page shows the stages that are finished.</p>");
  summary(page, rounds, facts);
  for (const fs::path& iteration : rounds) {
    if (rounds.size() > 1) page.add("<h1>" + escape(iteration.filename().string()) + "</h1>");
    report_eval(page, figures_of(iteration / "eval"));
    curves(page, iteration);
    if (const Json exam = figures_of(iteration / "exam"); exam.is_object() && exam.contains("sentence")) {
      page.heading("exam: what the judge is worth");
      page.add("<p>" + escape(exam["sentence"].is_string() ? exam["sentence"].get<std::string>() : "") +
               "</p>");
      exam_table(page, exam);
      if (optional_text(exam, "method") == "contrast")
        page.add(
            "<p>Labels were therefore made by contrast: one candidate was written under a principle, one "
            "under its opposite, others without an instruction; the label is which of two does what the "
            "request asks for, declining a harmful one and answering a harmless one. Only where both answer "
            "a harmless request does the principle decide.</p>");
    }
    page.heading("Principles: how often each was drawn and decided");
    Json drawn = Json::object();
    for (int round = 1; fs::exists(iteration / ("critique-" + std::to_string(round))); ++round)
      if (const Json f = figures_of(iteration / ("critique-" + std::to_string(round))); f.is_object())
        for (const char* key : {"by_principle", "principle", "principles"})
          if (f.contains(key) && f[key].is_object())
            for (const auto& [id, n] : f[key].items())
              if (n.is_number())
                drawn[id] = (drawn.contains(id) ? drawn[id].get<double>() : 0) + n.get<double>();
    counts(page, "drawn for critique", drawn);
    if (const Json f = figures_of(iteration / "label"); f.is_object())
      for (const char* key : {"decisions", "by_principle", "decided_by", "principles"})
        if (f.contains(key)) counts(page, "decided a label", f[key]);
    examples(page, iteration, config.examples);
    page.heading("What each stage counted");
    std::vector<fs::path> stages;
    for (const auto& entry : fs::directory_iterator(iteration))
      if (entry.is_directory() && fs::exists(entry.path() / "manifest.json") &&
          entry.path().filename().string().find(".stale") == std::string::npos)
        stages.push_back(entry.path());
    std::sort(stages.begin(), stages.end());
    for (const fs::path& stage : stages) {
      const auto manifest = read_manifest(stage);
      if (!manifest) continue;
      std::string rows;
      flat(manifest->figures, "", rows);
      page.add("<details><summary>" + escape(stage.filename().string()) + ", " +
               number(manifest->seconds, 4) + " s of wall time</summary><div class=scroll><table>" + rows +
               "</table></div></details>");
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
  page.add(
      "<p class=soft>config.yaml in this folder repeats the run: <code>cai train --config "
      "DIR/config.yaml</code>, DIR being the path of this folder</p></body></html>");
  return page.html;
}

std::string report_html(const fs::path& run, const Json& facts, const ReportConfig& config) {
  try {
    return page_of(run, facts, config);
  } catch (const Json::exception& e) {
    throw InputError(
        run.string(), 0,
        std::string("a manifest or record of this run is not of the expected form (") + e.what() + ")");
  }
}

}  // namespace cai
