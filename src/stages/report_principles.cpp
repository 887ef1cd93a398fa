// One row a principle: how often it was used, and how many held-out answers follow it.
#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/data/constitution.hpp"
#include "cai/stages/report_eval.hpp"
#include "cai/stages/report_run.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

// Principle id -> count, summed over the rounds of critique; of label: how often it decided.
struct Counts {
  Json drawn = Json::object(), decided = Json::object();
};

void add_counts(Json& sum, const Json& counts) {
  if (!counts.is_object()) return;
  for (const auto& [id, n] : counts.items())
    if (n.is_number() && !id.empty()) sum[id] = field(sum, id.c_str()) + n.get<double>();
}

Counts counts_of(const fs::path& round) {
  Counts counts;
  for (const fs::path& stage : rounds_of(round, "critique")) {
    const Json f = figures_of(stage);
    if (f.contains("principles")) add_counts(counts.drawn, f["principles"]);
  }
  const Json labels = figures_of(round / "label");
  if (labels.is_object() && labels.contains("decisions")) add_counts(counts.decided, labels["decisions"]);
  for (const char* other : {"the kind of the request", "no answer to the request"})
    counts.decided.erase(other);
  return counts;
}

// The texts of the constitution as it was used; empty where its file is not there or damaged.
Json texts_of(const ReportRun& run) {
  Json texts = Json::object();
  try {
    for (const Principle& p : read_constitution(run.folder / "constitution.yaml").principles)
      texts[p.id] = p.text;
  } catch (const InputError&) {  // cai verify says what is wrong with it
  } catch (const EnvironmentError&) {
  }
  return texts;
}

// In the constitution's order, then what only the figures know.
std::vector<std::string> principle_ids(const Json& texts, const std::vector<Json>& tables) {
  std::vector<std::string> ids;
  const auto add = [&](const Json& table) {
    if (!table.is_object()) return;
    for (const auto& [id, value] : table.items())
      if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  add(texts);
  for (const Json& table : tables)
    add(table);
  return ids;
}

Json table_in(const Json& figures, const char* name) {
  return figures.is_object() && figures.contains(name) && figures[name].is_object() ? figures[name]
                                                                                    : Json::object();
}

struct Principles {
  Counts counts;
  Json followed, changes, tests, texts;
  std::vector<std::string> models;
};

Principles principles_of(const ReportRun& run, const fs::path& round) {
  const Json eval = figures_of(round / "eval");
  return {counts_of(round),
          table_in(eval, "followed"),
          table_in(eval, "followed_differences"),
          table_in(eval, "by_principle"),
          texts_of(run),
          models_of(eval)};
}

std::vector<std::string> columns_of(const Principles& all) {
  std::vector<std::string> columns = {"principle"};
  if (!all.counts.drawn.empty()) columns.push_back("criticised under it");
  if (!all.counts.decided.empty()) columns.push_back("labels decided");
  for (const std::string& model : all.models)
    if (!all.followed.empty()) columns.push_back("followed, " + model);
  if (!all.changes.empty())
    columns.push_back("change, " + all.models.back() + " against " + all.models.front());
  for (const std::string& model : all.models)
    if (!all.tests.empty()) columns.push_back("tests passed, " + model);
  return columns;
}

std::vector<Cell> row_of(const Principles& all, const std::string& id) {
  std::vector<Cell> row = {text_cell(id)};
  if (all.texts.contains(id))
    row[0].markup += "<span class=\"ci\">" + escape(all.texts[id].get<std::string>()) + "</span>";
  if (!all.counts.drawn.empty()) row.push_back(count_cell(field(all.counts.drawn, id.c_str())));
  if (!all.counts.decided.empty()) row.push_back(count_cell(field(all.counts.decided, id.c_str())));
  for (const std::string& model : all.models)
    if (!all.followed.empty()) row.push_back(interval_cell(inner(all.followed, id, model), true));
  if (!all.changes.empty())
    row.push_back(change_cell(inner(all.changes, id, all.models.back()), true, false));
  for (const std::string& model : all.models)
    if (!all.tests.empty()) row.push_back(interval_cell(inner(all.tests, id, model), true));
  return row;
}

Table table_of(const Principles& all) {
  Table table{columns_of(all), {}};
  for (const std::string& id :
       principle_ids(all.texts, {all.counts.drawn, all.counts.decided, all.followed, all.tests}))
    table.rows.push_back(row_of(all, id));
  return table;
}

}  // namespace

void report_principles(Page& page, const ReportRun& run) {
  page.section("principles", "Principles");
  for (const fs::path& round : run.rounds) {
    const Table table = table_of(principles_of(run, round));
    if (table.rows.empty()) continue;
    if (const std::string name = run.round_name(round); !name.empty()) page.heading(name);
    page.add(table.html());
  }
  page.note(
      "Followed: of held-out answers, by the principle's check. Tests passed: of the tests that the "
      "constitution "
      "gives it. 95 % intervals (Wilson). A column's heading sorts by it.");
}

}  // namespace cai
