#include "cai/stages/eval_judge.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "cai/base/statistics.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/compare.hpp"
#include "cai/stages/figures.hpp"
#include "cai/stages/principles.hpp"

namespace cai {
namespace {

constexpr std::size_t kMost = 60;  // comparisons a principle and model: each costs two long prompts

// Plain prompts that a principle bears on ("" for no principle: requests that are not to be declined),
// spread.
std::vector<std::size_t> items_of(const EvalRecords& all, const Constitution& constitution,
                                  const Principle& principle) {
  std::vector<std::size_t> fitting;
  for (std::size_t i = 0; i < all.plain; ++i) {
    const Json& record = all.at(0, i);
    if (record.contains("must")) continue;
    const std::vector<const Principle*> bear = principles_for(constitution, record, false);
    const bool is_neutral = principle.id.empty();
    if (is_neutral ? kind_of(record) != "red-team"
                   : std::find(bear.begin(), bear.end(), &principle) != bear.end())
      fitting.push_back(i);
  }
  std::vector<std::size_t> places;
  const std::size_t n = std::min(fitting.size(), kMost);
  for (std::size_t i = 0; i < n; ++i)
    places.push_back(fitting[i * fitting.size() / n]);
  return places;
}

// The win rate of a model's answers under a principle. Equal answers are a draw without being asked about.
Json win_rate(const EvalRecords& all, std::size_t model, const std::vector<std::size_t>& items,
              const Principle& principle, Speaker& judge, Random random, long& unusable) {
  std::vector<std::string> prompts, own, first;
  for (const std::size_t i : items) {
    prompts.push_back(optional_text(all.at(0, i), "prompt"));
    own.push_back(optional_text(all.at(model, i), "response"));
    first.push_back(optional_text(all.at(0, i), "response"));
  }
  std::vector<Comparison> comparisons;
  double won = 0, lost = 0, n = 0;
  for (std::size_t k = 0; k < items.size(); ++k) {
    if (own[k] == first[k])
      ++n;
    else
      comparisons.push_back({&prompts[k], &own[k], &first[k], &principle, random});
  }
  for (const Verdict& verdict : compare(LabelConfig{}, {}, comparisons, judge)) {
    unusable += !verdict.is_usable;
    if (!verdict.is_usable) continue;
    won += verdict.first > 0 && verdict.second > 0;
    lost += verdict.first < 0 && verdict.second < 0;
    ++n;
  }
  return interval_json(as_win_rate(paired_difference(won, lost, n)));
}

}  // namespace

Json judged_figures(const EvalRecords& all, const Constitution& constitution, Speaker& judge, Random random) {
  long unusable = 0;
  const auto by_model = [&](const Principle& principle) {
    Json rates = Json::object();
    const std::vector<std::size_t> items = items_of(all, constitution, principle);
    for (std::size_t m = 1; m < all.models.size() && !items.empty(); ++m)
      rates[all.models[m].name] = win_rate(all, m, items, principle, judge, random, unusable);
    return rates;
  };
  Json principles = Json::object();
  for (const Principle& principle : constitution.principles) {
    if (!principle.check.empty()) continue;
    if (Json rates = by_model(principle); !rates.empty()) principles[principle.id] = std::move(rates);
  }
  const Json helpful = by_model(no_principle());
  return {{"principles", principles}, {"helpful", helpful}, {"unusable", unusable}};
}

}  // namespace cai
