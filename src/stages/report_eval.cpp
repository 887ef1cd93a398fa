#include "cai/stages/report_eval.hpp"

#include <string>
#include <vector>

#include "cai/data/refusal.hpp"
#include "cai/io/interval.hpp"
#include "cai/stages/verdict.hpp"

namespace cai {
namespace {

// A measure's name in a table, with the direction in which it is better.
std::string measure_name(const std::string& name) {
  const bool lower = name == "attack_success" || name == "over_refusal" || name == "refusal_ordinary" ||
                     name == "perplexity";
  return measure_title(name) + (lower ? " (lower is better)" : "");
}

// A difference with its interval and test, for a cell; "" without one.
std::string change(const Json& difference, bool share, bool detectable) {
  if (!difference.is_object()) return "";
  const auto show = [&](double v) {
    return (v > 0 ? "+" : "") + (share ? number(100 * v, 3) + " pt" : number(v, 3));
  };
  const Interval d = interval_of(difference);
  std::string text = show(d.value) + "<span class=ci>" +
                     (d.is_known() ? show(d.low) + " to " + show(d.high) : std::string("all the same"));
  if (difference.contains("mcnemar_p")) text += ", p " + number(field(difference, "mcnemar_p"), 2);
  if (difference.contains("holm_p")) text += " (Holm " + number(field(difference, "holm_p"), 2) + ")";
  if (detectable && difference.contains("mcnemar_p"))
    text += "; detectable from " + number(100 * field(difference, "smallest_detectable"), 2) + " pt";
  text += "</span>";
  return is_beyond_chance(difference) ? "<b>" + text + "</b>" : text;
}

Json inner(const Json& table, const std::string& name, const std::string& model) {
  return table.contains(name) && table.at(name).contains(model) ? table.at(name).at(model) : Json();
}

// One row a measure, one column a model, and the last model's change against the first.
void measures_table(Page& page, const Json& part, const std::vector<std::string>& models) {
  std::string head = "<tr><th>measure</th>";
  for (const std::string& m : models)
    head += "<th>" + escape(m) + "</th>";
  page.add("<div class=scroll><table>" + head + "<th>change, " + escape(models.back()) + " against " +
           escape(models.front()) + "</th></tr>");
  const Json& differences = part.at("differences");
  for (const auto& [name, by_model] : part.at("measures").items()) {
    if (by_model.empty()) continue;  // nothing that it needs was asked
    std::string row = "<tr><td>" + escape(measure_name(name)) + "</td>";
    for (const std::string& m : models)
      row += by_model.contains(m) ? interval_cell(by_model.at(m), is_share(name)) : "<td>not measured</td>";
    page.add(row + "<td class=n>" + change(inner(differences, name, models.back()), is_share(name), true) +
             "</td></tr>");
  }
  page.add("</table></div>");
}

// A table of intervals by name and model.
void by_name(Page& page, const std::string& title, const std::string& of, const Json& table,
             const std::vector<std::string>& models) {
  page.add("<h3>" + title + "</h3><div class=scroll><table><tr><th>" + of + "</th>");
  for (const std::string& m : models)
    page.add("<th>" + escape(m) + "</th>");
  page.add("</tr>");
  for (const auto& [name, by_model] : table.items()) {
    std::string row = "<tr><td>" + escape(name) + "</td>";
    for (const std::string& m : models)
      row += by_model.contains(m) ? interval_cell(by_model.at(m), true) : "<td></td>";
    page.add(row + "</tr>");
  }
  page.add("</table></div>");
}

// One row a principle that has a check, one column a model, and the last model's change against the first.
void followed_table(Page& page, const Json& eval, const std::vector<std::string>& models) {
  page.add(
      "<h3>Answers that follow each principle, by its check</h3><div "
      "class=scroll><table><tr><th>principle</th>");
  for (const std::string& m : models)
    page.add("<th>" + escape(m) + "</th>");
  page.add("<th>change, " + escape(models.back()) + " against " + escape(models.front()) + "</th></tr>");
  for (const auto& [name, by_model] : eval.at("followed").items()) {
    std::string row = "<tr><td>" + escape(name) + "</td>";
    for (const std::string& m : models)
      row += by_model.contains(m) ? interval_cell(by_model.at(m), true) : "<td></td>";
    const Json difference = inner(eval.at("followed_differences"), name, models.back());
    page.add(row + "<td class=n>" + change(difference, true, false) + "</td></tr>");
  }
  page.add("</table></div>");
}

void suites(Page& page, const Json& eval, const std::vector<std::string>& models) {
  if (eval.contains("by_topic") && !eval.at("by_topic").empty()) {
    by_name(page, "Harmful requests complied with, by topic", "topic", eval.at("by_topic"), models);
    if (eval.contains("topics")) {
      std::string line;
      for (const auto& [kind, n] : eval.at("topics").items())
        line += (line.empty() ? "" : ", ") + number(field(n, "topic_in_training"), 6) + " of " +
                number(field(n, "prompts"), 6) + " " + kind;
      page.add("<p class=soft>Prompts here whose topic (second tag) occurs among the training prompts: " +
               escape(line) + ".</p>");
    }
  }
  if (!eval.contains("suites")) return;
  const Json& all = eval.at("suites");
  if (all.contains("adversarial")) {
    const Json& suite = all.at("adversarial");
    page.add(
        "<h3>Suite adversarial: harmful requests complied with under attack</h3><div "
        "class=scroll><table><tr><th>attack</th>");
    for (const std::string& m : models)
      page.add("<th>" + escape(m) + "</th>");
    page.add("</tr>");
    for (const auto& [name, by_model] : suite.at("measures").items()) {
      const std::string attack = name.starts_with("attack_success_") ? name.substr(15) : name;
      std::string row = "<tr><td>" + escape(measure_name(name)) + "</td>";
      for (const std::string& m : models)
        row += by_model.contains(m)
                   ? interval_cell(by_model.at(m), true,
                                   "<span class=ci>against plain " +
                                       change(inner(suite.at("against_plain"), attack, m), true, false) +
                                       "</span>")
                   : "<td></td>";
      page.add(row + "</tr>");
    }
    page.add(
        "</table></div><p class=soft>\"Against plain\": less the plain wording of the same requests, paired "
        "by request. A small model cannot decode base64 or ROT13: that it does not comply there says that it "
        "did not understand, not that it declined.</p>");
  }
  if (all.contains("framing")) {
    page.add("<h3>Suite framing: told that somebody reviews the answers, told that nobody does</h3>");
    measures_table(page, all.at("framing"), models);
  }
  if (all.contains("capability")) {
    page.add("<h3>Suite capability: what the model still knows</h3>");
    measures_table(page, all.at("capability"), models);
    page.add(
        "<p class=soft>A question's option is chosen by its mean log-probability a token as the end of \"The "
        "answer is ...\".</p>");
  }
}

}  // namespace

void report_eval(Page& page, const Json& eval) {
  if (!eval.is_object() || !eval.contains("measures")) return;
  page.heading("eval: before and after");
  std::vector<std::string> models;
  for (const Json& m : eval.at("models"))
    models.push_back(m.get<std::string>());
  if (models.empty()) return;
  measures_table(page, eval, models);
  page.add(
      "<p class=soft>95 % intervals: Wilson's for shares, Tango's for their changes, which are paired by "
      "prompt, the BCa bootstrap's over prompts for the rest. p by McNemar's exact test; "
      "in brackets adjusted by Holm's method for all " +
      number(field(eval, "tests"), 6) +
      " tests of this evaluation. Bold: beyond chance, also among that many tests. Whether an answer refuses "
      "is decided by a rule: " +
      escape(kRefusalRuleError) +
      ". Complying means an answer on the topic that does not decline: it says nothing about how much harm "
      "the answer could do.</p>");
  if (eval.contains("pairwise") && !eval.at("pairwise").empty()) {
    page.add(
        "<h3>Preferred to the first model's answer on harmless prompts</h3><div "
        "class=scroll><table><tr><th>model</th><th>win rate (ties count half)</th><th>at equal "
        "length</th><th>both orders agree</th></tr>");
    for (const auto& [name, p] : eval.at("pairwise").items())
      page.add("<tr><td>" + escape(name) + "</td>" + interval_cell(p.at("win_rate"), true) +
               interval_cell(p.at("win_rate_at_equal_length"), true) + "<td class=n>" +
               percent(field(p, "orders_agree")) + "</td></tr>");
    page.add(
        "</table></div><p class=soft>The judge is the first model itself; where its two orders rarely agree, "
        "it sees the position rather than the answers, and this row says little.</p>");
  }
  if (eval.contains("followed")) followed_table(page, eval, models);
  if (eval.contains("by_principle") && !eval.at("by_principle").empty())
    by_name(page, "Tests passed, by principle", "principle", eval.at("by_principle"), models);
  suites(page, eval, models);
  if (eval.contains("text")) {
    page.add(
        "<h3>Signs of collapse</h3><div class=scroll><table><tr><th>model</th><th>distinct word "
        "pairs</th><th>share of the commonest opening</th></tr>");
    for (const auto& [name, t] : eval.at("text").items())
      page.add("<tr><td>" + escape(name) + "</td><td class=n>" + percent(field(t, "distinct_2")) +
               "</td><td class=n>" + percent(field(t, "common_opening")) + "</td></tr>");
    page.add("</table></div>");
  }
}

}  // namespace cai
