#include "cai/stages/label_choice.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cai/data/preference.hpp"

namespace cai {
namespace {

// What the verdicts that count say, by principle and by order.
struct Views {
  std::vector<View> mean, first, second;
  long first_slot = 0;  // choices for the answer that was shown first
  double mass = 0;      // mean over all that were asked
  long unusable = 0, samples = 0;
  std::string problem;  // of the first verdict that does not count
};

Views views_of(const std::vector<const Principle*>& principles, const std::vector<Verdict>& verdicts) {
  Views views;
  for (std::size_t k = 0; k < principles.size(); ++k) {
    const Verdict& v = verdicts[k];
    views.mass += v.mass / static_cast<double>(principles.size());
    views.samples = std::max(views.samples, v.samples);
    if (!v.is_usable) {
      ++views.unusable;
      if (views.problem.empty()) views.problem = v.problem;
      continue;
    }
    views.mean.push_back({principles[k], v.log_odds()});
    views.first.push_back({principles[k], v.first});
    views.second.push_back({principles[k], v.second});
    views.first_slot += (v.first > 0) + (v.second < 0);
  }
  return views;
}

// The reasoning of an order that came to the same verdict; in the second order the letters stand for the
// other answers.
std::string reasoning(const Principle& principle, const Verdict& v) {
  const bool a_is_better = v.log_odds() > 0;
  if ((v.first > 0) == a_is_better && !v.words.empty()) return "[" + principle.id + "] " + v.words;
  if ((v.second > 0) == a_is_better && !v.words_swapped.empty())
    return "[" + principle.id +
           "] (shown the other way round: its \"Answer A\" is b, its \"Answer B\" is a) " + v.words_swapped;
  return "";
}

std::string odds_reason(const Principle& principle, const Verdict& v, bool orders_agree, bool by_rank) {
  const std::string law = "By \"" + principle.id + "\" (" + principle.text + ") ";
  if (v.log_odds() == 0)
    return law + "neither answer is better: what is chosen in one order is not chosen in the other.";
  char odds[48];
  std::snprintf(odds, sizeof odds, "%.2f", std::abs(v.log_odds()));
  return law + "answer " + (v.log_odds() > 0 ? "A" : "B") + " is better: log-odds " + odds +
         (orders_agree ? ", in both orders" : ", though the choice changes with the order") +
         (by_rank ? "; it goes before the principles that say otherwise." : ".");
}

void add_words(Json& record, const std::vector<const Principle*>& principles,
               const std::vector<Verdict>& verdicts) {
  record["reasoning"] = Json::array();
  for (std::size_t k = 0; k < principles.size(); ++k)
    for (const bool swapped : {false, true})
      record["reasoning"].push_back({{"principle", principles[k]->id},
                                     {"shown_first", swapped ? "b" : "a"},
                                     {"words", swapped ? verdicts[k].words_swapped : verdicts[k].words},
                                     {"log_odds", swapped ? verdicts[k].second : verdicts[k].first}});
}

}  // namespace

Json choice_label(const LabelConfig& config, const Pair& pair,
                  const std::vector<const Principle*>& principles, const std::vector<Verdict>& verdicts,
                  const CheckViews& checks) {
  const Views views = views_of(principles, verdicts);
  std::vector<View> all = views.mean;
  all.insert(all.end(), checks.views.begin(), checks.views.end());
  const Preference preference = prefer(all);
  double p = 1 / (1 + std::exp(-preference.log_odds));
  if (config.chain_of_thought) p = std::clamp(p, config.clamp_low, config.clamp_high);
  const bool orders_agree =
      !views.mean.empty() && (prefer(views.first).log_odds > 0) == (prefer(views.second).log_odds > 0);
  const std::string problem = !all.empty() ? "" : principles.empty() ? "no principle applies" : views.problem;
  Json record = pair.record;
  record["a"] = pair.a, record["b"] = pair.b;
  record["p"] = std::round(p * 1e12) / 1e12;  // 0.1, not 0.09999999999999998
  record["log_odds"] = Json::object();
  for (const View& view : all)
    record["log_odds"][view.principle->id] = view.log_odds;
  record["by_rank"] = preference.by_rank;
  record["orders_agree"] = orders_agree;
  record["first_slot"] = views.first_slot, record["asked"] = 2 * views.mean.size();
  if (!principles.empty()) record["mass"] = views.mass;
  record["unusable"] = views.unusable;
  if (views.samples > 0) record["samples"] = views.samples;
  record["tie"] = std::abs(p - 0.5) < config.minimum_margin;
  record["method"] = "choice";
  record["problem"] = problem_kind(problem);
  record["principle"] = preference.decisive ? preference.decisive->id : "";
  record["reason"] = "No judgement: " + problem + ".";
  const Principle* decisive = preference.decisive;
  const bool by_check = decisive && !decisive->check.empty();
  const bool by_fault = by_check && checks.fault_a.empty() != checks.fault_b.empty();
  record["decided_by"] = by_fault ? "answer" : by_check ? "check" : decisive ? "judge" : "";
  if (by_fault) record["principle"] = "";
  if (by_check) {
    record["reason"] = checks.reason(*decisive, preference.log_odds > 0);
  } else if (decisive) {
    const Verdict& v = verdicts[static_cast<std::size_t>(
        std::find(principles.begin(), principles.end(), decisive) - principles.begin())];
    const std::string words = config.chain_of_thought ? reasoning(*decisive, v) : "";
    record["reason"] = !words.empty() ? words : odds_reason(*decisive, v, orders_agree, preference.by_rank);
  }
  if (config.chain_of_thought) add_words(record, principles, verdicts);
  record["first"] = pair.is_swapped ? "b" : "a";
  if (pair.human) record["human"] = *pair.human;
  return record;
}

}  // namespace cai
