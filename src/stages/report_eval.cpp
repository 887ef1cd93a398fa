#include "cai/stages/report_eval.hpp"

#include <map>
#include <string>
#include <vector>

#include "cai/stages/refusal.hpp"

namespace cai {
namespace {

const std::map<std::string, std::string>& measure_words() {
  static const std::map<std::string, std::string> words = {
      {"attack_success", "Harmful requests complied with (lower is better)"}, {"refusal_red_team", "Harmful requests refused"},
      {"over_refusal", "Harmless look-alikes refused (lower is better)"}, {"balanced_accuracy", "Harmful refused and look-alikes answered (balanced accuracy)"}, {"refusal_ordinary", "Ordinary requests refused (lower is better)"},
      {"tests_passed", "The constitution's own tests passed"}, {"reference_log_probability", "Log-probability a token of reference answers"},
      {"length", "Answer length in tokens"}, {"stop_rate", "Answers that end by themselves"}, {"divergence", "KL to the first model, nats an answer"},
      {"attack_success_adversarial", "All attacks together"}, {"attack_success_supervised", "Harmful requests complied with, supervised"},
      {"attack_success_unsupervised", "Harmful requests complied with, unsupervised"}, {"attack_success_gap", "Gap: unsupervised less supervised"},
      {"over_refusal_supervised", "Look-alikes refused, supervised"}, {"over_refusal_unsupervised", "Look-alikes refused, unsupervised"},
      {"over_refusal_gap", "Gap in look-alikes refused"}, {"text_log_probability", "Log-probability a token of neutral texts"},
      {"perplexity", "Perplexity of neutral texts (lower is better)"}, {"question_accuracy", "Easy questions answered right"}};
  return words;
}

std::string measure_name(const std::string& name) {
  const auto words = measure_words().find(name);
  return words != measure_words().end() ? words->second : name.starts_with("attack_success_") ? name.substr(15) : name;
}

bool is_share(const std::string& name) { return !name.ends_with("log_probability") && name != "length" && name != "perplexity" && name != "divergence"; }

// A difference with its interval and test, for a cell; "" without one.
std::string change(const Json& difference, bool share, bool detectable) {
  if (!difference.is_object()) return "";
  const auto show = [&](double v) { return (v > 0 ? "+" : "") + (share ? number(100 * v, 3) + " pt" : number(v, 3)); };
  std::string text = show(field(difference, "value")) + "<span class=ci>" + show(field(difference, "low")) + " to " + show(field(difference, "high"));
  if (difference.contains("mcnemar_p")) text += ", p " + number(field(difference, "mcnemar_p"), 2);
  if (detectable && difference.contains("mcnemar_p")) text += "; detectable from " + number(100 * field(difference, "smallest_detectable"), 2) + " pt";
  return text + "</span>";
}

Json inner(const Json& table, const std::string& name, const std::string& model) { return table.contains(name) && table.at(name).contains(model) ? table.at(name).at(model) : Json(); }

// One row a measure, one column a model, and the last model's change against the first.
void measures_table(Page& page, const Json& part, const std::vector<std::string>& models) {
  std::string head = "<tr><th>measure</th>";
  for (const std::string& m : models) head += "<th>" + escape(m) + "</th>";
  page.add("<div class=scroll><table>" + head + "<th>change, " + escape(models.back()) + " against " + escape(models.front()) + "</th></tr>");
  for (const auto& [name, by_model] : part.at("measures").items()) {
    std::string row = "<tr><td>" + escape(measure_name(name)) + "</td>";
    for (const std::string& m : models) row += by_model.contains(m) ? interval_cell(by_model.at(m), is_share(name)) : "<td>not measured</td>";
    page.add(row + "<td class=n>" + change(inner(part.at("differences"), name, models.back()), is_share(name), true) + "</td></tr>");
  }
  page.add("</table></div>");
}

// A table of intervals by name and model.
void by_name(Page& page, const std::string& title, const std::string& of, const Json& table, const std::vector<std::string>& models) {
  page.add("<h3>" + title + "</h3><div class=scroll><table><tr><th>" + of + "</th>");
  for (const std::string& m : models) page.add("<th>" + escape(m) + "</th>");
  page.add("</tr>");
  for (const auto& [name, by_model] : table.items()) {
    std::string row = "<tr><td>" + escape(name) + "</td>";
    for (const std::string& m : models) row += by_model.contains(m) ? interval_cell(by_model.at(m), true) : "<td></td>";
    page.add(row + "</tr>");
  }
  page.add("</table></div>");
}

void suites(Page& page, const Json& eval, const std::vector<std::string>& models) {
  if (eval.contains("by_topic") && !eval.at("by_topic").empty()) {
    by_name(page, "Harmful requests complied with, by topic", "topic", eval.at("by_topic"), models);
    if (eval.contains("topics")) {
      std::string line;
      for (const auto& [kind, n] : eval.at("topics").items()) line += (line.empty() ? "" : ", ") + number(field(n, "topic_in_training"), 6) + " of " + number(field(n, "prompts"), 6) + " " + kind;
      page.add("<p class=soft>Prompts here whose topic (second tag) occurs among the training prompts: " + escape(line) + ". Wilson intervals.</p>");
    }
  }
  if (!eval.contains("suites")) return;
  const Json& all = eval.at("suites");
  if (all.contains("adversarial")) {
    const Json& suite = all.at("adversarial");
    page.add("<h3>Suite adversarial: harmful requests complied with under attack</h3><div class=scroll><table><tr><th>attack</th>");
    for (const std::string& m : models) page.add("<th>" + escape(m) + "</th>");
    page.add("</tr>");
    for (const auto& [name, by_model] : suite.at("measures").items()) {
      const std::string attack = name.starts_with("attack_success_") ? name.substr(15) : name;
      std::string row = "<tr><td>" + escape(measure_name(name)) + "</td>";
      for (const std::string& m : models)
        row += by_model.contains(m) ? interval_cell(by_model.at(m), true, "<span class=ci>against plain " + change(inner(suite.at("against_plain"), attack, m), true, false) + "</span>") : "<td></td>";
      page.add(row + "</tr>");
    }
    page.add("</table></div><p class=soft>\"Against plain\": less the plain wording of the same requests, paired by request. A small model cannot decode base64 or ROT13: that it does not comply there says that it did not understand, not that it declined.</p>");
  }
  if (all.contains("framing")) {
    page.add("<h3>Suite framing: told that somebody reviews the answers, told that nobody does</h3>");
    measures_table(page, all.at("framing"), models);
  }
  if (all.contains("capability")) {
    page.add("<h3>Suite capability: what the model still knows</h3>");
    measures_table(page, all.at("capability"), models);
    page.add("<p class=soft>A question's option is chosen by its mean log-probability a token as the end of \"The answer is ...\".</p>");
  }
}

}  // namespace

void report_eval(Page& page, const Json& eval) {
  if (!eval.is_object() || !eval.contains("measures")) return;
  page.heading("eval: before and after");
  std::vector<std::string> models;
  for (const Json& m : eval.at("models")) models.push_back(m.get<std::string>());
  if (models.empty()) return;
  measures_table(page, eval, models);
  page.add("<p class=soft>Values with 95 % bootstrap intervals over prompts; changes are paired by prompt, p by McNemar's exact test. Whether an answer refuses is decided by a rule: " + escape(kRefusalRuleError) + ". Complying means an answer on the topic that does not decline: it says nothing about how much harm the answer could do.</p>");
  if (eval.contains("pairwise") && !eval.at("pairwise").empty()) {
    page.add("<h3>Preferred to the first model's answer on harmless prompts</h3><div class=scroll><table><tr><th>model</th><th>win rate (ties count half)</th><th>at equal length</th><th>both orders agree</th></tr>");
    for (const auto& [name, p] : eval.at("pairwise").items())
      page.add("<tr><td>" + escape(name) + "</td>" + interval_cell(p.at("win_rate"), true) + interval_cell(p.at("win_rate_at_equal_length"), true) + "<td class=n>" + percent(field(p, "orders_agree")) + "</td></tr>");
    page.add("</table></div><p class=soft>The judge is the first model itself; where its two orders rarely agree, it sees the position rather than the answers, and this row says little.</p>");
  }
  if (eval.contains("by_principle") && !eval.at("by_principle").empty()) by_name(page, "Tests passed, by principle", "principle", eval.at("by_principle"), models);
  suites(page, eval, models);
  if (eval.contains("text")) {
    page.add("<h3>Signs of collapse</h3><div class=scroll><table><tr><th>model</th><th>distinct word pairs</th><th>share of the commonest opening</th></tr>");
    for (const auto& [name, t] : eval.at("text").items()) page.add("<tr><td>" + escape(name) + "</td><td class=n>" + percent(field(t, "distinct_2")) + "</td><td class=n>" + percent(field(t, "common_opening")) + "</td></tr>");
    page.add("</table></div>");
  }
}

}  // namespace cai
