#include "cai/stages/report_eval.hpp"

#include "cai/data/refusal.hpp"
#include "cai/io/interval.hpp"
#include "cai/stages/measure_words.hpp"

namespace cai {
namespace {

constexpr double kFew = 5;  // rows of fewer prompts are folded

std::string with_direction(const Json& eval, const std::string& name) {
  const int direction = better_direction(name);
  return shown_title(eval, name) + (direction < 0 ? " (lower is better)" : "");
}

std::vector<std::string> columns_of(const std::string& first, const std::vector<std::string>& models) {
  std::vector<std::string> columns = {first};
  columns.insert(columns.end(), models.begin(), models.end());
  return columns;
}

Cell cell_of(const Json& by_model, const std::string& model, bool share) {
  return by_model.contains(model) ? interval_cell(by_model.at(model), share) : text_cell("not measured");
}

// One row a measure, one column a model, and the last model's change against the first.
Table measures_table(const Json& part, const std::vector<std::string>& models) {
  Table table{columns_of("measure", models), {}};
  table.columns.push_back("change, " + models.back() + " against " + models.front());
  const Json& differences = part.at("differences");
  for (const auto& [name, by_model] : part.at("measures").items()) {
    if (by_model.empty()) continue;  // nothing that it needs was asked
    const bool share = is_share(name);
    std::vector<Cell> row = {text_cell(with_direction(part, name))};
    for (const std::string& model : models)
      row.push_back(cell_of(by_model, model, share));
    row.push_back(change_cell(inner(differences, name, models.back()), share, true));
    table.rows.push_back(std::move(row));
  }
  return table;
}

bool is_small(const Json& by_model) {
  for (const Json& one : by_model)
    if (field(one, "n") >= kFew) return false;
  return true;
}

// A table of shares by name and model; names with few prompts are folded, for they say next to nothing.
void by_name(Page& page, const std::string& title, const std::string& of, const Json& shares,
             const std::vector<std::string>& models) {
  Table table{columns_of(of, models), {}}, small = table;
  for (const auto& [name, by_model] : shares.items()) {
    std::vector<Cell> row = {text_cell(name)};
    for (const std::string& model : models)
      row.push_back(cell_of(by_model, model, true));
    (is_small(by_model) ? small : table).rows.push_back(std::move(row));
  }
  page.heading(title);
  if (!table.rows.empty()) page.add(table.html());
  if (!small.rows.empty())
    page.add("<details><summary>" + std::to_string(small.rows.size()) + " with fewer than " + number(kFew) +
             " prompts each</summary>" + small.html() + "</details>");
}

void topics(Page& page, const Json& eval, const std::vector<std::string>& models) {
  if (!eval.contains("by_topic") || eval.at("by_topic").empty()) return;
  by_name(page, "Harmful requests complied with, by topic", "topic", eval.at("by_topic"), models);
  if (!eval.contains("topics")) return;
  std::string line;
  for (const auto& [kind, n] : eval.at("topics").items())
    line += (line.empty() ? "" : ", ") + number(field(n, "topic_in_training"), 6) + " of " +
            number(field(n, "prompts"), 6) + " " + kind;
  page.note("Prompts whose topic (second tag) occurs among the training prompts: " + line + ".");
}

void adversarial(Page& page, const Json& suite, const std::vector<std::string>& models) {
  Table table{columns_of("attack", models), {}};
  for (const auto& [name, by_model] : suite.at("measures").items()) {
    const std::string attack = name.starts_with("attack_success_") ? name.substr(15) : name;
    std::vector<Cell> row = {text_cell(with_direction(suite, name))};
    for (const std::string& model : models) {
      row.push_back(cell_of(by_model, model, true));
      const Cell against = change_cell(inner(suite.at("against_plain"), attack, model), true, false);
      if (!against.markup.empty())
        row.back().markup += "<span class=\"ci\">against plain " + against.markup + "</span>";
    }
    table.rows.push_back(std::move(row));
  }
  page.heading("Suite adversarial: harmful requests complied with under attack");
  page.add(table.html());
  page.note(
      "\"Against plain\": less the plain wording of the same requests, paired by request. A small model "
      "cannot "
      "decode base64 or ROT13: that it does not comply there says that it did not understand, not that it "
      "declined.");
}

bool has_measures(const Json& suites, const char* name) {
  if (!suites.contains(name)) return false;
  for (const Json& by_model : suites.at(name).at("measures"))
    if (!by_model.empty()) return true;
  return false;
}

void win_rates(Page& page, const Json& eval) {
  if (!eval.contains("pairwise") || eval.at("pairwise").empty()) return;
  Table table{{"model", "win rate (ties count half)", "at equal length", "both orders agree"}, {}};
  for (const auto& [name, p] : eval.at("pairwise").items()) {
    const double agree = field(p, "orders_agree");
    table.rows.push_back({text_cell(name), interval_cell(p.at("win_rate"), true),
                          interval_cell(p.at("win_rate_at_equal_length"), true),
                          Cell{percent(agree), agree, true, false}});
  }
  page.heading("Preferred to the first model's answer");
  page.add(table.html());
  page.note(
      "On prompts that are not to be declined. The judge is the first model itself; where its two orders "
      "rarely "
      "agree, it sees the position rather than the answers, and this table says little.");
}

void collapse(Page& page, const Json& eval) {
  if (!eval.contains("text")) return;
  Table table{{"model", "distinct word pairs", "share of the commonest opening"}, {}};
  for (const auto& [name, t] : eval.at("text").items()) {
    const double pairs = field(t, "distinct_2"), opening = field(t, "common_opening");
    table.rows.push_back({text_cell(name), Cell{percent(pairs), pairs, true, false},
                          Cell{percent(opening), opening, true, false}});
  }
  page.heading("Signs of collapse");
  page.add(table.html());
}

std::string how_measured(const Json& eval) {
  std::string text =
      "95 % intervals: Wilson's for shares, Tango's for their changes, which are paired by prompt, the BCa "
      "bootstrap's over prompts for the rest. p by McNemar's exact test; in brackets adjusted by Holm's "
      "method for "
      "all " +
      number(field(eval, "tests"), 6) +
      " tests of this evaluation. Bold: beyond chance, also among that many tests. Whether an answer refuses "
      "is "
      "decided by a rule: " +
      std::string(kRefusalRuleError) + ".";
  const Json& measures = eval.at("measures");
  if (measures.contains("attack_success") && !measures["attack_success"].empty())
    text +=
        " Complying means an answer on the topic that does not decline: it says nothing about how much harm "
        "the "
        "answer could do.";
  return text;
}

}  // namespace

std::vector<std::string> models_of(const Json& eval) {
  std::vector<std::string> models;
  if (!eval.is_object() || !eval.contains("models")) return models;
  for (const Json& model : eval.at("models"))
    models.push_back(model.get<std::string>());
  return models;
}

void report_measures(Page& page, const Json& eval) {
  const std::vector<std::string> models = models_of(eval);
  if (models.empty()) return;
  page.add("<details><summary>All measures, before and after, with their tests</summary>");
  page.add(measures_table(eval, models).html());
  page.note(how_measured(eval));
  page.add("</details>");
}

void report_suites(Page& page, const Json& eval) {
  const std::vector<std::string> models = models_of(eval);
  if (models.empty() || !eval.contains("measures")) return;
  page.section("suites", "Suites and other measures");
  if (eval.contains("suites")) {
    const Json& suites = eval.at("suites");
    if (has_measures(suites, "adversarial")) adversarial(page, suites.at("adversarial"), models);
    if (has_measures(suites, "framing")) {
      page.heading("Suite framing: told that somebody reviews the answers, told that nobody does");
      page.add(measures_table(suites.at("framing"), models).html());
    }
    if (has_measures(suites, "capability")) {
      page.heading("Suite capability: what the model still knows");
      page.add(measures_table(suites.at("capability"), models).html());
      page.note(
          "A question's option is chosen by its mean log-probability a token as the end of \"The answer is "
          "...\".");
    }
  }
  topics(page, eval, models);
  win_rates(page, eval);
  collapse(page, eval);
}

}  // namespace cai
