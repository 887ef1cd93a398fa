// Held-out answers before and after, and what was trained on: critiques and revisions.
#include "cai/base/random.hpp"
#include "cai/io/records.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/report_answers.hpp"
#include "cai/stages/report_eval.hpp"
#include "cai/stages/report_run.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

std::uint64_t seed_of(const ReportRun& run) {
  const double seed = field(run.facts, "seed");
  return seed > 0 ? static_cast<std::uint64_t>(seed) : 0;
}

std::string part(const char* title, const std::string& text) {
  if (text.empty()) return "";
  return "<div class=\"answer\"><b>" + std::string(title) + "</b><div class=\"text\">" + escape(text) +
         "</div></div>";
}

std::string revision_example(const Json& r) {
  const std::string problem = optional_text(r, "revision_problem"), by = optional_text(r, "principle_by");
  std::string about = "principle " + optional_text(r, "principle");
  if (!by.empty()) about += ", chosen by " + by;
  if (const double tries = optional_number(r, "tries"); tries > 1) about += ", " + number(tries) + " tries";
  if (!problem.empty()) about += ", left out: " + problem;
  return "<details><summary>" + escape(optional_text(r, "prompt")) + "<span class=\"soft\">" +
         escape(optional_text(r, "id") + ", " + about) + "</span></summary><div class=\"answers\">" +
         part("first answer", optional_text(r, "response")) + part("critique", optional_text(r, "critique")) +
         part("revision", optional_text(r, "revision")) + "</div></details>";
}

void revisions(Page& page, const ReportRun& run) {
  const std::vector<fs::path> stages = rounds_of(run.rounds.back(), "revise");
  if (stages.empty() || run.config.examples == 0) return;
  std::vector<Json> asked;
  for (const Json& r : read_records(stages.back()))
    if (!optional_text(r, "principle").empty()) asked.push_back(r);
  if (asked.empty()) return;
  page.heading("What it was trained on: critiques and revisions");
  const std::vector<std::size_t> order = Random(seed_of(run)).derive("revisions").permutation(asked.size());
  for (std::size_t i = 0; i < std::min(order.size(), static_cast<std::size_t>(run.config.examples)); ++i)
    page.add(revision_example(asked[order[i]]));
}

}  // namespace

void report_answers(Page& page, const ReportRun& run) {
  if (run.rounds.empty()) return;
  page.section("answers", "Answers before and after");
  const fs::path stage = run.rounds.back() / "eval";
  const std::vector<std::string> models = models_of(figures_of(stage));
  if (!models.empty() && run.config.examples > 0) {
    const std::vector<AnswerSet> all = answer_sets(read_records(stage), models);
    const std::vector<AnswerSet> chosen =
        chosen_sets(all, static_cast<std::size_t>(run.config.examples), seed_of(run));
    page.note(std::to_string(chosen.size()) + " of " + std::to_string(all.size()) +
              " held-out prompts and tests, chosen by seed, not by their answers." +
              (has_kinds(run.rounds.back())
                   ? " Answers to red-team prompts are folded: they can be unpleasant."
                   : ""));
    show_answers(page, chosen, models);
  }
  revisions(page, run);
}

}  // namespace cai
