#include "cai/stages/report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <vector>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/io/manifest.hpp"
#include "cai/io/records.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/refusal.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

// Everything that came from a model, a prompt or a file goes through here: control and bidi characters are spelled out, markup is inert.
std::string escape(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string number(double v, int digits = 3) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*g", digits, v);
  return text;
}

std::string percent(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * v);
  return text;
}

double field(const Json& j, const char* name) { return j.contains(name) && j[name].is_number() ? j[name].get<double>() : 0; }

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--ink:#1c1e21;--soft:#5d6470;--line:#d9dde3;--page:#fff;--card:#f6f7f9;--a:#1f6feb;--good:#1a7f37;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#a2a9b4;--line:#3a3f47;--page:#15171a;--card:#1e2126;--a:#6ea8ff;--good:#5fc77a;--bad:#ff8a80}}
*{box-sizing:border-box}body{margin:0 auto;max-width:72rem;padding:1.2rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page)}
h1{font-size:1.7rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}h3{font-size:1rem;margin:1rem 0 .3rem}
p{margin:.4rem 0}.soft{color:var(--soft);font-size:.9rem}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem}th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}th{color:var(--soft);font-weight:600}
td.n{white-space:nowrap;font-variant-numeric:tabular-nums}.ci{color:var(--soft);font-size:.82rem;display:block}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:.8rem}.card{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.7rem .9rem;overflow-wrap:anywhere;white-space:pre-wrap}
.card b{display:block;color:var(--soft);font-size:.8rem;font-weight:600;margin-bottom:.2rem}details{margin:.5rem 0;border:1px solid var(--line);border-radius:.5rem;padding:.5rem .8rem}summary{cursor:pointer;overflow-wrap:anywhere}
svg{width:100%;height:auto;background:var(--card);border:1px solid var(--line);border-radius:.5rem}svg text{fill:var(--soft);font:11px system-ui,sans-serif}svg path{fill:none;stroke:var(--a);stroke-width:2}svg line{stroke:var(--line)}
@media(max-width:600px){body{padding:.8rem}table{font-size:.78rem}th,td{padding:.3rem .25rem}td.n{white-space:normal}.ci{font-size:.68rem}}
.bar{background:var(--a);height:.6rem;border-radius:.3rem;min-width:2px}code{font-size:.85rem;overflow-wrap:anywhere}
)";

struct Page {
  std::string html;
  void add(const std::string& text) { html += text + "\n"; }
  void heading(const std::string& text) { add("<h2>" + escape(text) + "</h2>"); }
};

Json figures_of(const fs::path& folder) {
  const auto m = fs::exists(folder) ? read_manifest(folder) : std::nullopt;
  return m ? m->figures : Json();
}

std::vector<fs::path> iterations(const fs::path& run) {
  std::vector<fs::path> found;
  if (fs::exists(run))
    for (const auto& entry : fs::directory_iterator(run))
      if (entry.is_directory() && entry.path().filename().string().starts_with("iter-") && entry.path().filename().string().find(".stale") == std::string::npos) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

const std::map<std::string, std::string>& measure_words() {
  static const std::map<std::string, std::string> words = {
      {"attack_success", "Harmful requests complied with (lower is better)"}, {"refusal_red_team", "Harmful requests refused"},
      {"over_refusal", "Harmless look-alikes refused (lower is better)"}, {"balanced_accuracy", "Harmful refused and look-alikes answered (balanced accuracy)"}, {"refusal_ordinary", "Ordinary requests refused (lower is better)"},
      {"tests_passed", "The constitution's own tests passed"}, {"reference_log_probability", "Log-probability a token of reference answers"},
      {"length", "Answer length in tokens"}, {"stop_rate", "Answers that end by themselves"},
      {"attack_success_adversarial", "All attacks together"}, {"attack_success_supervised", "Harmful requests complied with, supervised"},
      {"attack_success_unsupervised", "Harmful requests complied with, unsupervised"}, {"attack_success_gap", "Gap: unsupervised less supervised"},
      {"over_refusal_supervised", "Look-alikes refused, supervised"}, {"over_refusal_unsupervised", "Look-alikes refused, unsupervised"},
      {"over_refusal_gap", "Gap in look-alikes refused"}, {"text_log_probability", "Log-probability a token of neutral texts"},
      {"perplexity", "Perplexity of neutral texts (lower is better)"}, {"question_accuracy", "Easy questions answered right"}};
  return words;
}

std::string interval_cell(const Json& i, bool share, const std::string& more = "") {
  const auto show = [&](double v) { return share ? percent(v) : number(v, 4); };
  const std::string p = i.contains("mcnemar_p") ? ", p " + number(field(i, "mcnemar_p"), 2) : "";
  return "<td class=n>" + show(field(i, "value")) + "<span class=ci>" + show(field(i, "low")) + " to " + show(field(i, "high")) + ", n " + number(field(i, "n"), 6) + p + "</span>" + more + "</td>";
}

std::string measure_name(const std::string& name) {
  const auto words = measure_words().find(name);
  return words != measure_words().end() ? words->second : name.starts_with("attack_success_") ? name.substr(15) : name;
}

bool is_share(const std::string& name) { return !name.ends_with("log_probability") && name != "length" && name != "perplexity"; }

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

void before_and_after(Page& page, const Json& eval) {
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

std::string curve(const std::string& title, const std::vector<double>& values) {
  if (values.size() < 2) return "";
  const double low = *std::min_element(values.begin(), values.end()), high = *std::max_element(values.begin(), values.end()), span = high > low ? high - low : 1;
  std::string path;
  for (std::size_t i = 0; i < values.size(); ++i) {
    char point[64];
    std::snprintf(point, sizeof point, "%s%.1f %.1f", i ? "L" : "M", 44 + 240.0 * static_cast<double>(i) / static_cast<double>(values.size() - 1), 112 - 84 * (values[i] - low) / span);
    path += point;
  }
  return "<svg viewBox=\"0 0 300 130\" role=img aria-label=\"" + escape(title) + "\"><text x=8 y=16>" + escape(title) + "</text><line x1=44 y1=112 x2=284 y2=112 /><text x=4 y=32>" + number(high) +
         "</text><text x=4 y=114>" + number(low) + "</text><text x=44 y=126>1</text><text x=262 y=126>" + std::to_string(values.size()) + "</text><path d=\"" + path + "\" /></svg>";
}

void curves(Page& page, const fs::path& iteration) {
  const std::map<std::string, std::vector<std::pair<std::string, std::string>>> wanted = {
      {"sft", {{"loss", "sft: loss"}, {"gradient_norm", "sft: gradient norm"}}},
      {"reward", {{"loss", "reward: loss"}, {"accuracy", "reward: accuracy on the batch"}}},
      {"ppo", {{"score", "ppo: score"}, {"kl", "ppo: KL to the reference, nats a sequence"}, {"entropy", "ppo: entropy, nats a token"}, {"length", "ppo: length, tokens"},
               {"stop_rate", "ppo: share that ends"}, {"explained_variance", "ppo: explained variance of the value model"}}},
      {"dpo", {{"loss", "dpo: loss"}, {"accuracy", "dpo: accuracy on the batch"}, {"preferred_log_ratio", "dpo: log-ratio of preferred answers"}, {"other_log_ratio", "dpo: log-ratio of the others"}}}};
  std::string all;
  for (const char* stage : {"sft", "reward", "ppo", "dpo"}) {
    const fs::path file = iteration / stage / "metrics.jsonl";
    if (!fs::exists(file)) continue;
    const std::vector<Json> lines = read_records(file);
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
  for (int round = 1; fs::exists(iteration / ("revise-" + std::to_string(round)) / "manifest.json"); ++round) last = iteration / ("revise-" + std::to_string(round));
  if (last.empty() || most == 0) return;
  page.heading("Examples: critique and revision");
  page.add("<p class=soft>Red-team prompts and the first answers to them can be unpleasant; they are folded.</p>");
  long shown = 0;
  for (const Json& r : read_records(last)) {
    if (shown == most) break;
    if (optional_text(r, "principle").empty()) continue;
    ++shown;
    const std::string problem = optional_text(r, "revision_problem");
    page.add("<details><summary>" + escape(optional_text(r, "id")) + ": principle " + escape(optional_text(r, "principle")) + (problem.empty() ? "" : " (left out: " + escape(problem) + ")") + "</summary><div class=cards>");
    for (const auto& [name, title] : {std::pair<const char*, const char*>{"prompt", "prompt"}, {"response", "first answer"}, {"critique", "critique"}, {"revision", "revision"}})
      page.add("<div class=card><b>" + std::string(title) + "</b>" + escape(optional_text(r, name)) + "</div>");
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
    page.add("<tr><td>" + escape(name.empty() ? "none" : name) + "</td><td class=n>" + number(n.get<double>(), 6) + "</td><td><div class=bar style=\"width:" + width + "\"></div></td></tr>");
  }
  page.add("</table></div>");
}

// What the judge was worth before and after fine-tuning, by part of the exam.
void exam_table(Page& page, const Json& exam) {
  if (!exam.contains("judges") || !exam["judges"].is_object()) return;
  const std::map<std::string, std::string> judges = {{"before", "before fine-tuning"}, {"after", "after fine-tuning"}}, parts = {{"constitution", "the constitution's tests and exemplars"}, {"people", "people's pairs"}};
  const auto word = [](const std::map<std::string, std::string>& words, const std::string& name) { return escape(words.contains(name) ? words.at(name) : name); };
  std::vector<std::string> names;
  for (const char* name : {"before", "after"})
    if (exam["judges"].contains(name)) names.push_back(name);
  for (const auto& [name, figures] : exam["judges"].items())
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  page.add("<div class=scroll><table><tr><th>part</th><th>judge</th><th>right</th><th>took the first answer</th><th>calibration error</th></tr>");
  for (const char* part : {"constitution", "people"})
    for (const std::string& name : names)
      if (const Json& mine = exam["judges"][name]; mine.contains(part)) {
        const Json& f = mine.at(part);
        page.add("<tr><td>" + word(parts, part) + "</td><td>" + word(judges, name) + "</td>" + interval_cell(f.at("accuracy"), true) + interval_cell(f.at("first_slot"), true) + "<td class=n>" + number(field(f, "calibration_error"), 2) + "</td></tr>");
      }
  page.add("</table></div><p class=soft>Each pair is asked in both orders; 50 % of first answers is unbiased. The calibration error is the mean distance of P(better) from the share that was better, over ten bins.</p>");
}

// Where the run's time went.
void time_and_tokens(Page& page, const Json& facts) {
  if (!facts.contains("stages") || !facts["stages"].is_object() || facts["stages"].empty()) return;
  page.heading("Time and tokens by stage");
  page.add("<div class=scroll><table><tr><th>stage</th><th>seconds</th><th>records</th><th>tokens</th><th>tokens a second</th></tr>");
  double seconds = 0, tokens = 0;
  const auto row = [&](const std::string& name, double s, const std::string& records, double t) {
    page.add("<tr><td>" + escape(name) + "</td><td class=n>" + number(s, 4) + "</td><td class=n>" + records + "</td><td class=n>" + number(t, 7) + "</td><td class=n>" + (s > 0 && t > 0 ? number(t / s) : "") + "</td></tr>");
  };
  for (const auto& [folder, entry] : facts["stages"].items()) {
    if (!entry.is_object()) continue;
    row(folder, field(entry, "seconds"), number(field(entry, "records"), 7), field(entry, "tokens"));
    seconds += field(entry, "seconds"), tokens += field(entry, "tokens");
  }
  row("in all", seconds, "", tokens);
  page.add("</table></div><p class=soft>Tokens are those that were read (after shared prefixes) and written, or learned from.</p>");
}

// Any figures, flattened: what a stage counted, nothing hidden.
void flat(const Json& value, const std::string& name, std::string& rows) {
  if (value.is_object()) {
    if (value.contains("value") && value.contains("low") && value.contains("high")) {
      rows += "<tr><td>" + escape(name) + "</td><td class=n>" + number(field(value, "value"), 4) + "<span class=ci>" + number(field(value, "low"), 4) + " to " + number(field(value, "high"), 4) + ", n " + number(field(value, "n"), 6) + "</span></td></tr>";
      return;
    }
    for (const auto& [key, inner] : value.items()) flat(inner, name.empty() ? key : name + ", " + key, rows);
  } else if (!value.is_null()) {
    rows += "<tr><td>" + escape(name) + "</td><td class=n>" + escape(value.is_string() ? value.get<std::string>() : value.is_number_float() ? number(value.get<double>(), 4) : value.dump()) + "</td></tr>";
  }
}

}  // namespace

static std::string page_of(const fs::path& run, const Json& facts, const ReportConfig& config) {
  Page page;
  const std::string name = fs::weakly_canonical(run).filename().string();
  page.add("<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\">"
           "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\"><title>" + escape(name) + "</title><style>" + kStyle + "</style></head><body>");
  page.add("<h1>" + escape(name) + "</h1>");
  const std::vector<fs::path> rounds = iterations(run);
  page.add("<p>A language model, trained to follow a written constitution: it answered prompts, criticised and revised its answers under one principle at a time, learned from the revisions, "
           "and was then trained by reinforcement learning on AI preferences. " + std::to_string(rounds.size()) + (rounds.size() == 1 ? " iteration." : " iterations.") + "</p>");
  if (facts.contains("state")) page.add("<p class=soft>State: " + escape(facts["state"].is_string() ? facts["state"].get<std::string>() : "") + "</p>");
  for (const fs::path& iteration : rounds) {
    if (rounds.size() > 1) page.add("<h1>" + escape(iteration.filename().string()) + "</h1>");
    before_and_after(page, figures_of(iteration / "eval"));
    curves(page, iteration);
    if (const Json exam = figures_of(iteration / "exam"); exam.is_object() && exam.contains("sentence")) {
      page.heading("exam: what the judge is worth");
      page.add("<p>" + escape(exam["sentence"].is_string() ? exam["sentence"].get<std::string>() : "") + "</p>");
      exam_table(page, exam);
      if (optional_text(exam, "method") == "contrast")
        page.add("<p>Labels were therefore made by contrast: one candidate was written under a principle, one under its opposite, others without an instruction; the label is which of two does what the request asks for, declining a harmful one and answering a harmless one. Where both do or both do not, the side that was asked for under the principle is taken.</p>");
    }
    page.heading("Principles: how often each was drawn and decided");
    Json drawn = Json::object();
    for (int round = 1; fs::exists(iteration / ("critique-" + std::to_string(round))); ++round)
      if (const Json f = figures_of(iteration / ("critique-" + std::to_string(round))); f.is_object())
        for (const char* key : {"by_principle", "principle", "principles"})
          if (f.contains(key) && f[key].is_object())
            for (const auto& [id, n] : f[key].items())
              if (n.is_number()) drawn[id] = (drawn.contains(id) ? drawn[id].get<double>() : 0) + n.get<double>();
    counts(page, "drawn for critique", drawn);
    if (const Json f = figures_of(iteration / "label"); f.is_object())
      for (const char* key : {"decisions", "by_principle", "decided_by", "principles"})
        if (f.contains(key)) counts(page, "decided a label", f[key]);
    examples(page, iteration, config.examples);
    page.heading("What each stage counted");
    std::vector<fs::path> stages;
    for (const auto& entry : fs::directory_iterator(iteration))
      if (entry.is_directory() && fs::exists(entry.path() / "manifest.json") && entry.path().filename().string().find(".stale") == std::string::npos) stages.push_back(entry.path());
    std::sort(stages.begin(), stages.end());
    for (const fs::path& stage : stages) {
      const auto manifest = read_manifest(stage);
      if (!manifest) continue;
      std::string rows;
      flat(manifest->figures, "", rows);
      page.add("<details><summary>" + escape(stage.filename().string()) + ", " + number(manifest->seconds, 4) + " s of wall time</summary><div class=scroll><table>" + rows + "</table></div></details>");
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
  page.add("<p class=soft>config.yaml in this folder repeats the run: <code>cai train --config " + escape(name) + "/config.yaml</code></p></body></html>");
  return page.html;
}

std::string report_html(const fs::path& run, const Json& facts, const ReportConfig& config) {
  try {
    return page_of(run, facts, config);
  } catch (const Json::exception& e) {
    throw InputError(run.string(), 0, std::string("a manifest or record of this run is not of the expected form (") + e.what() + ")");
  }
}

}  // namespace cai
