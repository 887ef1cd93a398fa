// The same answers by the checks of other constitutions: what `cai report --also` found.
#include "cai/stages/report_other_rules.hpp"

namespace cai {
namespace {

std::vector<std::string> models_in(const Json& mean) {
  std::vector<std::string> names;
  for (const auto& [name, interval] : mean.items())
    names.push_back(name);
  return names;
}

std::vector<std::string> columns_of(const std::string& first, const std::vector<std::string>& models) {
  std::vector<std::string> columns = {first};
  for (const std::string& model : models)
    columns.push_back("followed, " + model);
  columns.push_back("change, " + models.back() + " against " + models.front());
  return columns;
}

std::string name_of(const Json& one) {
  return one.at("constitution").get<std::string>() + " " + one.at("version").get<std::string>();
}

Table means_of(const Json& also, const std::vector<std::string>& models) {
  Table table{columns_of("constitution", models), {}};
  for (const Json& one : also) {
    std::vector<Cell> row = {text_cell(name_of(one))};
    for (const std::string& model : models)
      row.push_back(interval_cell(one.at("mean").at(model), true));
    row.push_back(change_cell(one.at("mean_differences").at(models.back()), true, false));
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table principles_of(const Json& one, const std::vector<std::string>& models) {
  Table table{columns_of("principle", models), {}};
  for (const auto& [id, by_model] : one.at("followed").items()) {
    std::vector<Cell> row = {text_cell(id)};
    for (const std::string& model : models)
      row.push_back(interval_cell(by_model.at(model), true));
    row.push_back(change_cell(inner(one.at("followed_differences"), id, models.back()), true, false));
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace

void report_other_rules(Page& page, const ReportRun& run) {
  if (!run.facts.is_object() || !run.facts.contains("also") || run.facts["also"].empty()) return;
  const Json& also = run.facts["also"];
  const std::vector<std::string> models = models_in(also.front().at("mean"));
  if (models.size() < 2) return;
  page.section("other-rules", "By other constitutions");
  page.paragraph(
      "The same held-out answers, by the checks of other constitutions. Training on one constitution should "
      "move "
      "its own figures, and others hardly.");
  page.add(means_of(also, models).html());
  for (std::size_t i = 1; i < also.size(); ++i) {
    page.heading(name_of(also[i]));
    page.add(principles_of(also[i], models).html());
  }
  page.note(
      "Mean share of the principles with a check that an answer follows, bootstrapped over prompts. "
      "Shuffled: "
      "each principle is applied to the prompts of another one.");
}

}  // namespace cai
