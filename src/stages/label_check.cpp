#include "cai/stages/label_check.hpp"

#include <algorithm>
#include <cmath>

#include "cai/stages/asking.hpp"
#include "cai/stages/checking.hpp"

namespace cai {
namespace {

// Log-odds of a pair of which one answer follows all of a check's rules and the other none of them.
constexpr double kCheckOdds = 8;

}  // namespace

bool CheckViews::decide() const {
  return std::any_of(views.begin(), views.end(), [](const View& view) { return view.log_odds != 0; });
}

std::string CheckViews::reason(const Principle& principle, bool a_is_better) const {
  const std::string better = a_is_better ? "A" : "B", other = a_is_better ? "B" : "A";
  if (fault_a.empty() != fault_b.empty())
    return "Answer " + other + " does not answer the request (" + (a_is_better ? fault_b : fault_a) + ").";
  std::size_t k = 0;
  while (k < views.size() && views[k].principle != &principle)
    ++k;
  const std::string broken = k == views.size() ? "" : a_is_better ? broken_b[k] : broken_a[k];
  return "By \"" + principle.id + "\" (" + principle.text + ") answer " + better + " is better: answer " +
         other + " breaks the check (" + broken + ").";
}

CheckViews check_views(const Constitution& constitution, const Pair& pair) {
  const std::string prompt = optional_text(pair.record, "prompt");
  const std::vector<std::string> tags = tags_of(pair.record);
  const std::vector<Checked> a = follow_principles(constitution, tags, prompt, pair.a);
  const std::vector<Checked> b = follow_principles(constitution, tags, prompt, pair.b);
  CheckViews checks;
  if (!a.empty()) {
    checks.fault_a = answer_fault(prompt, pair.a);
    checks.fault_b = answer_fault(prompt, pair.b);
  }
  for (std::size_t k = 0; k < a.size(); ++k) {
    checks.views.push_back({a[k].principle, kCheckOdds * (a[k].share - b[k].share)});
    checks.broken_a.push_back(a[k].broken);
    checks.broken_b.push_back(b[k].broken);
  }
  return checks;
}

Json check_label(const CheckViews& checks, const Pair& pair) {
  const Preference preference = prefer(checks.views);
  const double p = 1 / (1 + std::exp(-preference.log_odds));
  const bool is_even = preference.log_odds == 0;
  Json record = pair.record;
  record["a"] = pair.a;
  record["b"] = pair.b;
  record["p"] = std::round(p * 1e12) / 1e12;  // 0.1, not 0.09999999999999998
  record["log_odds"] = Json::object();
  for (const View& view : checks.views)
    record["log_odds"][view.principle->id] = view.log_odds;
  record["by_rank"] = preference.by_rank;
  record["orders_agree"] = true;  // no order is asked
  record["tie"] = is_even;
  record["method"] = "check";
  const bool by_fault = checks.fault_a.empty() != checks.fault_b.empty();
  record["decided_by"] = is_even ? "" : by_fault ? "answer" : "check";
  record["problem"] = "";
  record["principle"] = is_even || by_fault ? "" : preference.decisive->id;
  record["reason"] = !is_even ? checks.reason(*preference.decisive, preference.log_odds > 0)
                     : checks.decide()
                         ? "No preference: the principles for answer A and those for answer B weigh the same."
                         : "No difference: both answers follow the principles alike.";
  record["first"] = pair.is_swapped ? "b" : "a";
  if (pair.human) record["human"] = *pair.human;
  return record;
}

}  // namespace cai
