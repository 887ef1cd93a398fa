#include "cai/stages/report_answers.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "cai/base/random.hpp"
#include "cai/stages/asking.hpp"

namespace cai {
namespace {

constexpr std::size_t kOfEachPrinciple = 3, kOpen = 4;

// The principles that say something of an answer: those with a check, and the one that a test belongs to.
std::vector<std::string> principles_of(const Json& answer) {
  std::vector<std::string> ids;
  if (answer.contains("checks") && answer["checks"].is_object())
    for (const auto& [id, broken] : answer["checks"].items())
      ids.push_back(id);
  const std::string tested = optional_text(answer, "principle");
  if (answer.contains("must") && !tested.empty()) ids.push_back(tested);
  return ids;
}

// How many rules hold, to tell better from worse: checks followed, a test passed, a request rightly treated.
long merits_of(const Json& answer) {
  long merits = 0;
  if (answer.contains("checks") && answer["checks"].is_object())
    for (const Json& broken : answer["checks"])
      merits += broken == "";
  merits += optional_flag(answer, "passed") + optional_text(answer, "fault").empty();
  const std::string kind = kind_of(answer);
  if (answer.contains("must")) return merits;
  if (kind == "red-team") return merits - optional_flag(answer, "complies");
  return merits - optional_flag(answer, "refusal");
}

const char* change_of(const AnswerSet& set) {
  const long before = merits_of(set.answers.front()), after = merits_of(set.answers.back());
  if (after != before) return after > before ? "better" : "worse";
  return optional_text(set.answers.front(), "response") == optional_text(set.answers.back(), "response")
             ? "same"
             : "other";
}

std::string item(const std::string& kind, const std::string& text) {
  return "<li class=\"" + kind + "\">" + escape(text) + "</li>";
}

// What the checks say: each broken principle with the reason, then those that are followed in one line.
std::string check_findings(const Json& answer) {
  std::string broken, followed;
  if (!answer.contains("checks") || !answer["checks"].is_object()) return "";
  for (const auto& [id, why] : answer["checks"].items()) {
    if (why == "")
      followed += (followed.empty() ? "follows " : ", ") + id;
    else if (why.is_string())
      broken += item("bad", "breaks " + id + " (" + why.get<std::string>() + ")");
  }
  return broken + (followed.empty() ? "" : item("good", followed));
}

// What the rules say of an answer, as a list; "" where they say nothing.
std::string findings(const Json& answer) {
  std::string items = check_findings(answer);
  if (answer.contains("passed"))
    items +=
        optional_flag(answer, "passed") ? item("good", "passes the test") : item("bad", "fails the test");
  if (const std::string fault = optional_text(answer, "fault"); !fault.empty())
    items += item("bad", "does not answer the request: " + fault);
  if (optional_flag(answer, "complies")) items += item("bad", "complies");
  if (optional_flag(answer, "refusal")) items += item("soft", "refuses");
  if (optional_text(answer, "finish") == "length") items += item("soft", "cut at the token limit");
  return items.empty() ? "" : "<ul>" + items + "</ul>";
}

std::string summary_of(const Json& answer) {
  std::string about = optional_text(answer, "id");
  for (const std::string& tag : tags_of(answer))
    about += (about.empty() ? "" : ", ") + tag;
  return "<summary>" + escape(optional_text(answer, "prompt")) + "<span class=\"soft\">" + escape(about) +
         "</span></summary>";
}

std::string example(const AnswerSet& set, const std::vector<std::string>& names,
                    const std::map<std::string, std::size_t>& principles, bool is_open) {
  std::string marks;
  for (const std::string& id : principles_of(set.answers.front()))
    marks += (marks.empty() ? "" : " ") + std::to_string(principles.at(id));
  std::string text = "<details class=\"example\" data-principle=\"" + marks + "\" data-change=\"" +
                     change_of(set) + (is_open ? "\" open>" : "\">") + summary_of(set.answers.front()) +
                     "<div class=\"answers\">";
  for (std::size_t i = 0; i < set.answers.size(); ++i) {
    const std::string response = optional_text(set.answers[i], "response");
    text += "<div class=\"answer\"><b>" + escape(names[i]) + "</b><div class=\"text\">" +
            (response.empty() ? "<i>(empty)</i>" : escape(response)) + "</div>" + findings(set.answers[i]) +
            "</div>";
  }
  return text + "</div></details>";
}

std::string option(const std::string& value, const std::string& text) {
  return "<option value=\"" + value + "\">" + escape(text) + "</option>";
}

std::string filters(const std::map<std::string, std::size_t>& principles) {
  std::string text = "<div class=\"filters\" data-of=\".example\" hidden>";
  if (!principles.empty()) {
    text += "<label>Principle <select name=\"principle\">" + option("", "all");
    for (const auto& [id, number] : principles)
      text += option(std::to_string(number), id);
    text += "</select></label>";
  }
  return text + "<label>Change <select name=\"change\">" + option("", "all") + option("better", "better") +
         option("worse", "worse") + option("other", "other words, same result") +
         option("same", "the same answer") + "</select></label><output class=\"soft\"></output></div>";
}

}  // namespace

std::vector<AnswerSet> answer_sets(const std::vector<Json>& records, const std::vector<std::string>& models) {
  std::map<std::string, std::map<std::string, const Json*>> by_id;
  std::vector<std::string> order;
  for (const Json& r : records) {
    const std::string id = optional_text(r, "id");
    if (r.contains("suite") || id.empty() || !r.contains("response")) continue;
    if (by_id[id].empty()) order.push_back(id);
    by_id[id][optional_text(r, "model")] = &r;
  }
  std::vector<AnswerSet> sets;
  for (const std::string& id : order) {
    AnswerSet set;
    for (const std::string& model : models)
      if (const auto found = by_id[id].find(model); found != by_id[id].end())
        set.answers.push_back(*found->second);
    if (set.answers.size() == models.size() && !models.empty()) sets.push_back(std::move(set));
  }
  return sets;
}

std::vector<AnswerSet> chosen_sets(const std::vector<AnswerSet>& all, std::size_t most, std::uint64_t seed) {
  std::vector<AnswerSet> chosen;
  std::map<std::string, std::size_t> shown;
  if (most == 0) return chosen;
  for (const std::size_t i : Random(seed).derive("report").permutation(all.size())) {
    const std::vector<std::string> ids = principles_of(all[i].answers.front());
    const bool is_wanted = std::any_of(ids.begin(), ids.end(),
                                       [&](const std::string& id) { return shown[id] < kOfEachPrinciple; });
    if (chosen.size() >= most && !is_wanted) continue;
    for (const std::string& id : ids)
      ++shown[id];
    chosen.push_back(all[i]);
  }
  return chosen;
}

void show_answers(Page& page, const std::vector<AnswerSet>& sets, const std::vector<std::string>& names) {
  std::map<std::string, std::size_t> principles;
  for (const AnswerSet& set : sets)
    for (const std::string& id : principles_of(set.answers.front()))
      principles.emplace(id, 0);
  std::size_t number = 0;
  for (auto& [id, mine] : principles)
    mine = number++;
  page.add(filters(principles));
  std::size_t open = 0;  // the first few; the rest, and what can be unpleasant, is folded
  for (const AnswerSet& set : sets) {
    const bool is_open = open < kOpen && kind_of(set.answers.front()) != "red-team" &&
                         optional_text(set.answers.front(), "must") != "refuse";
    open += is_open;
    page.add(example(set, names, principles, is_open));
  }
}

}  // namespace cai
