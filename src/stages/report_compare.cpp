#include "cai/stages/report_compare.hpp"

#include <map>

#include "cai/base/error.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/run_folder.hpp"
#include "cai/io/records.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/eval_figures.hpp"
#include "cai/stages/figures.hpp"
#include "cai/stages/followed.hpp"
#include "cai/stages/report_answers.hpp"
#include "cai/stages/report_eval.hpp"
#include "cai/stages/report_forest.hpp"
#include "cai/stages/report_run.hpp"
#include "cai/stages/run_settings.hpp"
#include "cai/stages/verdict.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

struct Side {
  fs::path folder;
  std::string name, model;            // of the folder; of the last model
  std::map<std::string, Json> by_id;  // its answers to plain prompts and tests
  std::vector<std::string> order;
};

Side side_of(const fs::path& run) {
  Side side{fs::weakly_canonical(run), "", "", {}, {}};
  side.name = side.folder.filename().string();
  const std::vector<fs::path> evals = stage_folders(run, "eval");
  if (evals.empty()) throw InputError(run.string() + ": this run has no finished evaluation to compare");
  const std::vector<std::string> models = models_of(figures_of(evals.back()));
  if (models.empty()) throw InputError(run.string() + ": its evaluation names no model");
  side.model = models.back();
  for (Json& r : read_records(evals.back())) {
    const std::string id = optional_text(r, "id");
    if (optional_text(r, "model") != side.model || r.contains("suite") || !r.contains("response")) continue;
    side.order.push_back(id);
    side.by_id[id] = std::move(r);
  }
  return side;
}

bool is_same_question(const Json& a, const Json& b) {
  for (const char* field : {"prompt", "must", "words", "principle"})
    if (a.value(field, Json()) != b.value(field, Json())) return false;
  return true;
}

// Both sides judged by the same checks, whatever constitution each was trained under.
void check_again(Json& record, const Constitution& constitution, const std::string& name) {
  record["model"] = name;
  record.erase("checks");
  Json checks = check_answer(constitution, tags_of(record), optional_text(record, "prompt"),
                             optional_text(record, "response"));
  if (!checks.empty()) record["checks"] = std::move(checks);
}

struct Common {
  std::vector<Json> records;  // the first side's, then the second's, in one order of prompts
  std::size_t prompts = 0;
};

Common common_of(const Side& first, const Side& second, const Constitution& constitution) {
  std::vector<Json> mine, theirs;
  for (const std::string& id : first.order) {
    const auto other = second.by_id.find(id);
    if (other == second.by_id.end() || !is_same_question(first.by_id.at(id), other->second)) continue;
    mine.push_back(first.by_id.at(id)), theirs.push_back(other->second);
    check_again(mine.back(), constitution, first.name);
    check_again(theirs.back(), constitution, second.name);
  }
  if (mine.empty())
    throw InputError(first.folder.string() + " and " + second.folder.string() +
                     ": the two runs answered no held-out prompt in common");
  Common common{std::move(mine), theirs.size()};
  common.records.insert(common.records.end(), theirs.begin(), theirs.end());
  return common;
}

void names_apart(Side& first, Side& second) {
  if (first.name != second.name) return;
  first.name = first.folder.string();
  second.name = second.folder.string();
  if (first.name == second.name) second.name += " (again)";
}

void verdict_part(Page& page, const Side& first, const Side& second, const Common& common,
                  const Json& figures) {
  page.section("verdict", "Verdict");
  page.add("<p class=\"verdict\">" + escape(verdict_sentence(figures)) + "</p>");
  page.note("Answers of " + first.model + " of " + first.name + " and of " + second.model + " of " +
            second.name + " to the " + std::to_string(common.prompts) +
            " held-out prompts and tests that both were asked; checks are those of " + second.name +
            "'s constitution.");
  page.heading("Change from " + first.name + " to " + second.name + ", in percentage points");
  page.add(forest_plot(forest_rows(figures)));
  page.note(
      "Lines are 95 % intervals of the change, paired by prompt. Filled and coloured: beyond chance, also "
      "among all " +
      number(field(figures, "tests"), 6) + " comparisons of this page (Holm's method).");
  report_measures(page, figures);
}

void settings_part(Page& page, const Side& first, const Side& second) {
  page.section("settings", "What differs between the runs");
  Table table{{"setting or fact", first.name, second.name}, {}};
  for (const Difference& d : setting_differences(first.folder, second.folder))
    table.rows.push_back({text_cell(d.name), long_cell(d.first), long_cell(d.second)});
  if (table.rows.empty())
    page.paragraph("Nothing: settings, seed, model, constitution, prompts and program are the same.");
  else
    page.add(table.html());
  page.note("cai constitution diff says what changed between two constitutions, by principle.");
}

}  // namespace

std::string compare_html(const fs::path& first_run, const fs::path& second_run, const EvalConfig& eval,
                         const ReportConfig& config) {
  try {
    Side first = side_of(first_run), second = side_of(second_run);
    names_apart(first, second);
    const Constitution constitution = read_constitution(second.folder / "constitution.yaml");
    const Common common = common_of(first, second, constitution);
    const std::vector<EvalModel> models = {{first.name, {}, {}}, {second.name, {}, {}}};
    Json figures = eval_figures(eval, constitution, {},
                                EvalRecords{models, common.records, common.prompts, common.prompts}, 1);
    figures["tests"] = add_holm(figures);
    Page page;
    page.title(first.name + " and " + second.name + " compared");
    verdict_part(page, first, second, common, figures);
    settings_part(page, first, second);
    page.section("answers", "Answers to the same prompts");
    const std::vector<AnswerSet> sets = answer_sets(common.records, {first.name, second.name});
    const std::vector<AnswerSet> chosen = chosen_sets(sets, static_cast<std::size_t>(config.examples), 1);
    page.note(std::to_string(chosen.size()) + " of " + std::to_string(sets.size()) +
              ", chosen by seed, not by their answers.");
    show_answers(page, chosen, {first.name, second.name});
    return page.html();
  } catch (const Json::exception& e) {
    throw InputError(first_run.string() + " or " + second_run.string() +
                     ": a manifest or record is not of the expected form (" + e.what() + ")");
  }
}

}  // namespace cai
