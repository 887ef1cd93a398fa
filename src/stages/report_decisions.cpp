// Who decided what, in numbers: only what the manifests' figures say.
#include <map>

#include "cai/stages/asking.hpp"
#include "cai/stages/report_run.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

std::string judge_words(const std::string& by) {
  static const std::map<std::string, std::string> words = {
      {"tag", "the prompt's kind tag"},
      {"kind", "the prompt's kind tag"},
      {"the kind of the request", "the prompt's kind tag"},
      {"score", "the prompt's kind tag and the model's own answer"},
      {"check", "a check (rules that the program verifies)"},
      {"answer", "a rule: one does not answer the request"},
      {"principle", "the principle that one was written under"},
      {"model", "the critic, asked which principle the answer violates"},
      {"draw", "chance, by the principles' weights"},
      {"people", "people"},
      {"human", "people"}};
  const auto found = words.find(by);
  return found == words.end() ? by : found->second;
}

// "the prompt's kind tag 48, people 2"
std::string by_whom(const Json& counts, const std::string& judge = "the judge") {
  std::string text;
  if (!counts.is_object()) return text;
  for (const auto& [by, n] : counts.items())
    if (n.is_number() && n.get<double>() > 0 && !by.empty())
      text += (text.empty() ? "" : ", ") + (by == "judge" ? judge : judge_words(by)) + ": " +
              number(n.get<double>(), 7);
  return text;
}

// What stands behind "label.feedback = " among a stage's settings in run.json; "" where it is not there.
std::string setting_of(const Json& facts, const std::string& stage, const std::string& name) {
  const auto object = [](const Json& j, const std::string& key) {
    return j.is_object() && j.contains(key) ? j[key] : Json();
  };
  const Json settings = object(object(object(object(facts, "stages"), stage), "ingredients"), "config");
  const std::string start = name + " = \"";
  for (const Json& line : settings)
    if (line.is_string() && line.get<std::string>().starts_with(start)) {
      const std::string value = line.get<std::string>().substr(start.size());
      return value.substr(0, value.rfind('"'));
    }
  return "";
}

std::string judge_name(const ReportRun& run, const fs::path& round) {
  const std::string stage = round.filename().string() + "/label";
  const std::string judge = setting_of(run.facts, stage, "label.feedback"),
                    served = setting_of(run.facts, stage, "endpoint.model");
  if (judge == "self") return "the model itself, after fine-tuning";
  if (judge.empty()) return "a judge";
  return judge.starts_with("http") && !served.empty() ? served + " at " + judge : judge;
}

struct Decisions {
  Table table{{"stage", "decision", "how many", "by whom"}, {}};

  void add(const std::string& stage, const std::string& decision, const std::string& how_many,
           const std::string& by) {
    table.rows.push_back({text_cell(stage), text_cell(decision), text_cell(how_many), text_cell(by)});
  }
};

std::string of(double part, double all) {
  return number(part, 7) + " of " + number(all, 7);
}

void prompt_rows(Decisions& rows, const fs::path& round) {
  const Json f = figures_of(round / "prompts");
  if (!f.is_object()) return;
  if (!has_kinds(round)) {
    rows.add("prompts", "which prompts are to be declined", "0 of " + number(field(f, "records"), 7),
             "nobody: no prompt has a kind tag");
    return;
  }
  rows.add("prompts", "which prompts are harmful, or only look so",
           number(field(f, "red-team"), 7) + " red-team, " + number(field(f, "borderline"), 7) +
               " borderline, " + number(field(f, "ordinary"), 7) + " ordinary",
           "the prompt files' tags");
}

void revision_rows(Decisions& rows, const fs::path& round) {
  for (const fs::path& stage : rounds_of(round, "critique")) {
    const Json f = figures_of(stage);
    const std::string name = stage.filename().string();
    rows.add(name, "which answers are criticised, under which principle",
             of(field(f, "critiques"), field(f, "records")),
             f.contains("principle_by") ? by_whom(f["principle_by"]) : "");
    if (has_kinds(round) && f.contains("decided_by"))
      rows.add(name, "whether the answer should decline", number(field(f, "records"), 7),
               by_whom(f["decided_by"]));
  }
  for (const fs::path& stage : rounds_of(round, "revise")) {
    const Json f = figures_of(stage);
    rows.add(stage.filename().string(), "which revisions can be trained on",
             of(field(f, "usable"), field(f, "revisions")),
             f.contains("decided_by") ? by_whom(f["decided_by"]) : "rules for unusable text");
  }
}

void label_rows(Decisions& rows, const ReportRun& run, const fs::path& round) {
  const Json f = figures_of(round / "label");
  if (!f.is_object()) return;
  const std::string judge = judge_name(run, round);
  std::string by = f.contains("decided_by") ? by_whom(f["decided_by"], judge) : "";
  if (by.empty() && f.contains("decisions") && f["decisions"].is_object()) {
    double by_tag = 0, by_judge = 0;
    for (const auto& [principle, n] : f["decisions"].items())
      if (n.is_number()) (principle == "the kind of the request" ? by_tag : by_judge) += n.get<double>();
    if (by_tag > 0) by = "the prompt's kind tag: " + number(by_tag, 7);
    if (by_judge > 0)
      by += (by.empty() ? "" : ", ") +
            (optional_text(f, "method") == "contrast"
                 ? std::string("the principle that an answer was written under")
                 : judge) +
            ": " + number(by_judge, 7);
  }
  rows.add("label", "which of two answers is better",
           of(field(f, "judged"), field(f, "records")) + ", " + number(field(f, "ties"), 7) + " ties", by);
}

void reward_rows(Decisions& rows, const fs::path& round) {
  for (const char* stage : {"reward", "dpo"}) {
    const Json f = figures_of(round / stage);
    if (!f.is_object() || !f.contains("labels")) continue;
    const double people = field(f, "by_people") + field(f, "human_pairs") + field(f, "edits");
    rows.add(stage, "labels trained on", of(field(f, "train"), field(f, "labels")),
             people > 0 ? "people: " + number(people, 7) + " of them" : "as above; people: 0");
  }
}

// What was done, by the stages that the last iteration has: a run in progress has fewer.
std::string what_was_done(const ReportRun& run) {
  if (run.rounds.empty()) return "A run that has not begun its first stage.";
  const fs::path& last = run.rounds.back();
  const auto has = [&](const char* stage) { return fs::exists(last / stage / "manifest.json"); };
  std::string text = "The model answered prompts";
  if (has("critique-1")) text += ", criticised and revised its answers under one principle at a time";
  if (has("sft")) text += ", then was fine-tuned on the result (SL-CAI)";
  const Json labels = figures_of(last / "label");
  if (has("label"))
    text +=
        optional_text(labels, "method") == "contrast"
            ? ". Pairs of answers were labelled by the kind of the request: decline harmful ones, answer the "
              "others"
            : ". Pairs of answers were labelled by a judging model";
  if (has("dpo"))
    text += ". It was then trained on these labels by direct preference optimisation (DPO)";
  else if (has("ppo"))
    text +=
        ". It was then trained by reinforcement learning (PPO) on a reward model of these labels (RL-CAI)";
  else if (has("reward"))
    text += ". A reward model was trained on these labels; no reinforcement learning followed";
  return text + ".";
}

}  // namespace

void report_decisions(Page& page, const ReportRun& run) {
  page.section("decisions", "Who decided what");
  page.paragraph(what_was_done(run));
  for (const fs::path& round : run.rounds) {
    Decisions rows;
    prompt_rows(rows, round);
    revision_rows(rows, round);
    label_rows(rows, run, round);
    reward_rows(rows, round);
    if (rows.table.rows.empty()) continue;
    if (const std::string name = run.round_name(round); !name.empty()) page.heading(name);
    page.add(rows.table.html());
  }
}

}  // namespace cai
