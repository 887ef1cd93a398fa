// The page's head: what became of the model, what to do next, what to be careful with.
#include "cai/base/error.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/report_eval.hpp"
#include "cai/stages/report_forest.hpp"
#include "cai/stages/report_run.hpp"
#include "cai/stages/stage_warnings.hpp"
#include "cai/stages/verdict.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

std::string name_in(const Json& facts, const char* what) {
  return facts.is_object() && facts.contains(what) && facts[what].is_object()
             ? optional_text(facts[what], "name")
             : "";
}

// "Constitution harmless 1.0.3, model smollm2 (135 million parameters), seed 1"
std::string about(const ReportRun& run) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (const std::string name = name_in(run.facts, "constitution"); !name.empty())
    add("constitution " + name + " " + optional_text(run.facts["constitution"], "version"));
  if (const std::string name = name_in(run.facts, "model"); !name.empty()) {
    const double millions = field(run.facts["model"], "parameters") / 1e6;
    add("model " + name + (millions > 0 ? " (" + number(millions, 3) + " million parameters)" : ""));
  }
  if (run.facts.is_object() && run.facts.contains("seed")) add("seed " + number(field(run.facts, "seed"), 9));
  if (run.rounds.size() > 1) add(std::to_string(run.rounds.size()) + " iterations");
  return text;
}

std::vector<std::string> failed_gates(const Json& facts) {
  std::vector<std::string> gates;
  if (!facts.is_object() || !facts.contains("failed_gates") || !facts["failed_gates"].is_array())
    return gates;
  for (const Json& gate : facts["failed_gates"])
    gates.push_back(gate.is_string() ? gate.get<std::string>() : "");
  return gates;
}

std::vector<std::string> all_warnings(const ReportRun& run) {
  std::vector<std::string> lines;
  for (const fs::path& round : run.rounds) {
    std::vector<fs::path> stages = {round / "generate"};
    for (const fs::path& stage : rounds_of(round, "revise"))
      stages.push_back(stage);
    for (const char* stage : {"label", "reward", "eval"})
      stages.push_back(round / stage);
    for (const fs::path& stage : stages)
      for (const std::string& line :
           warnings_of((run.rounds.size() > 1 ? round.filename().string() + "/" : std::string()) +
                           stage.filename().string(),
                       figures_of(stage)))
        lines.push_back(line);
  }
  return lines;
}

void forest(Page& page, const Json& eval) {
  const std::string plot = forest_plot(forest_rows(eval));
  if (plot.empty()) return;
  page.heading("Change from " + models_of(eval).front() + ", in percentage points");
  page.add(plot);
  page.note(
      "In brackets and as lines: 95 % intervals of the change, paired by prompt. Filled and coloured: beyond "
      "chance, also among all " +
      number(field(eval, "tests"), 6) +
      " comparisons of this evaluation (Holm's method). Hollow and grey: not beyond chance.");
}

}  // namespace

void report_verdict(Page& page, const ReportRun& run) {
  page.note(about(run));
  const std::string state = run.facts.is_object() ? optional_text(run.facts, "state") : "";
  page.section("verdict", "Verdict");
  if (!state.empty() && state != "done")
    page.add("<p><b>State: " + escape(state) + ".</b> This page shows the stages that are finished.</p>");
  const std::vector<std::string> gates = failed_gates(run.facts);
  page.box("failed", "Failed gates", gates);
  const Json eval = run.rounds.empty() ? Json() : figures_of(run.rounds.back() / "eval");
  const std::string sentence = verdict_sentence(eval);
  if (!sentence.empty()) {
    page.add("<p class=\"verdict\">" + escape(sentence) + "</p>");
    page.add("<p><b>Next:</b> " + escape(next_step(eval, !gates.empty())) + "</p>");
  }
  page.box("warnings", "Warnings", all_warnings(run));
  if (!eval.is_object() || !eval.contains("measures")) return;
  if (!eval.at("measures").is_object() || !eval.at("differences").is_object())
    throw InputError((run.rounds.back() / "eval/manifest.json").string(), 0,
                     "the figures are not of the expected form: measures and differences are objects");
  forest(page, eval);
  report_measures(page, eval);
}

}  // namespace cai
