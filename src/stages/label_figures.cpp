#include "cai/stages/label_figures.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "cai/base/statistics.hpp"
#include "cai/base/text.hpp"
#include "cai/io/interval.hpp"
#include "cai/stages/asking.hpp"

namespace cai {
namespace {

Json or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

}  // namespace

Json label_figures(const std::vector<Json>& records, bool contrast) {
  std::map<std::string, long> decisions, problems, kinds, by;
  long ties = 0, judged = 0, known = 0, wrong_way = 0, unusable = 0, sampled = 0;
  ClusteredShare agree, first_slot, right;  // pairs of one prompt are right or wrong together
  std::vector<double> predicted, outcome;
  std::vector<double> won, won_known,
      won_human;  // the input's first answer, by the judge without and with a person's word, and by that
  std::map<std::string, std::pair<std::vector<int>, std::vector<int>>>
      by_principle;                            // a better: by the principle, by people
  std::map<std::string, ClusteredShare> same;  // agreement by principle
  ClusteredDifference first_wins;
  std::vector<int> by_judge, by_people;
  double margin = 0, length_difference = 0;
  for (const Json& r : records) {
    const std::string problem = optional_text(r, "problem");
    ++problems[problem];
    ties += problem.empty() && optional_flag(r, "tie");
    unusable += static_cast<long>(optional_number(r, "unusable"));
    sampled += optional_number(r, "samples") > 0;
    if (!problem.empty()) continue;
    const double p = r.at("p").get<double>();
    ++judged;
    const std::string kind = kind_of(r);
    ++kinds[kind.empty() ? "untagged" : kind];
    const std::string prompt = optional_text(r, "prompt");
    if (optional_text(r, "method") != "check") agree.add(prompt, optional_flag(r, "orders_agree"));
    for (long k = 0; k < static_cast<long>(optional_number(r, "asked")); ++k)
      first_slot.add(prompt, k < static_cast<long>(optional_number(r, "first_slot")));
    margin += std::abs(p - 0.5);
    const double longer = static_cast<double>(words_of(optional_text(r, "a")).size()) -
                          static_cast<double>(words_of(optional_text(r, "b")).size());
    length_difference += p > 0.5 ? longer : -longer;
    ++by[optional_text(r, "decided_by")];
    const std::string decided_by = optional_text(r, "decided_by");
    ++decisions[decided_by == "kind"     ? "the kind of the request"
                : decided_by == "answer" ? "no answer to the request"
                                         : optional_text(r, "principle")];
    if (contrast && optional_number(r, "contrast_nats") != 0)
      wrong_way += (optional_number(r, "contrast_nats") > 0) != (p > 0.5);
    const bool is_first_a = optional_text(r, "first") != "b";
    const double first_answer = p == 0.5 ? 0.5 : (p > 0.5) == is_first_a ? 1 : 0;
    const bool has_human = r.contains("human") && r["human"].is_number();
    (has_human ? won_known : won).push_back(first_answer);
    first_wins.add(prompt, first_answer == 1, first_answer == 0);
    if (has_human) won_human.push_back(is_first_a ? r["human"].get<double>() : 1 - r["human"].get<double>());
    if (const auto human = r.find("human");
        human != r.end() && human->is_number() && human->get<double>() != 0.5) {
      const double h = human->get<double>();
      ++known;
      right.add(prompt, (p > 0.5) == (h > 0.5) && p != 0.5);
      predicted.push_back(p), outcome.push_back(h);
      by_judge.push_back(p > 0.5), by_people.push_back(h > 0.5);
      for (const auto& [id, odds] : r.at("log_odds").items()) {
        auto& [mine, theirs] = by_principle[id];
        mine.push_back(odds.get<double>() > 0), theirs.push_back(h > 0.5);
        same[id].add(prompt, mine.back() == theirs.back());
      }
    }
  }
  const double n = std::max<double>(1, static_cast<double>(judged));
  Json figures = {{"records", records.size()},
                  {"judged", judged},
                  {"ties", ties},
                  {"problems", problems},
                  {"kinds", kinds},
                  {"method", contrast ? "contrast" : "choice"},
                  {"mean_margin", margin / n},
                  {"decisions", decisions},
                  {"decided_by", by},
                  {"words_longer_preferred", length_difference / n}};
  if (contrast) figures["against_direction"] = static_cast<double>(wrong_way) / n;
  if (!contrast) {
    figures["order_consistency"] = interval_json(agree.interval());
    figures["first_slot"] = interval_json(first_slot.interval());
    figures["mean_mass"] = mean_of(records, "mass");  // P(A) + P(B) of each pair
    figures["unusable_verdicts"] = unusable;
    figures["from_samples"] = sampled;
  }
  if (known > 0) {
    figures["agreement"] = interval_json(right.interval());
    figures["calibration_error"] = calibration_error(predicted, outcome);
  }
  if (known > 0) {
    figures["kappa"] = or_null(kappa(by_judge, by_people));
    for (const auto& [id, both] : by_principle) {
      figures["agreement_by_principle"][id] = {{"agreement", interval_json(same[id].interval())},
                                               {"kappa", or_null(kappa(both.first, both.second))}};
    }
  }
  if (!contrast) {
    figures["first_answer_wins"] = {{"judge", interval_json(as_win_rate(first_wins.interval()))}};
    if (won_human.size() > 1 && !won.empty()) {
      figures["first_answer_wins"]["people"] = interval_json(bootstrap_mean(won_human, 2000, 1));
      figures["first_answer_wins"]["corrected"] =
          interval_json(prediction_powered_mean(won_human, won_known, won));
    }
  }
  return figures;
}

}  // namespace cai
