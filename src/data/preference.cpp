#include "cai/data/preference.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace cai {
namespace {

// Tiers in order: 0 for hard principles, else the priority (from 1).
int tier(const Principle& p) {
  return p.hard ? 0 : p.priority;
}

double mean(std::span<const View> views, int of_tier) {  // of_tier -1: all
  double sum = 0, weight = 0;
  for (const View& v : views) {
    if (of_tier >= 0 && tier(*v.principle) != of_tier) continue;
    const double w = std::max(v.principle->weight, 1e-6);
    sum += w * v.log_odds, weight += w;
  }
  return weight > 0 ? sum / weight : 0;
}

}  // namespace

Preference prefer(std::span<const View> views) {
  Preference result;
  if (views.empty()) return result;
  result.log_odds = mean(views, -1);
  int deciding = -1;  // the tier that overruled the mean; -1: the mean of all stands
  std::vector<int> tiers;
  for (const View& v : views)
    tiers.push_back(tier(*v.principle));
  std::sort(tiers.begin(), tiers.end());
  for (const int t : tiers) {
    const double own = mean(views, t);
    if (std::abs(own) < kClear) continue;
    if ((own > 0) != (result.log_odds > 0)) result.log_odds = own, result.by_rank = true, deciding = t;
    break;
  }
  double strongest = -1;
  for (const View& v : views) {
    const bool counts = !result.by_rank || tier(*v.principle) == deciding;
    const bool agrees = counts && (v.log_odds > 0) == (result.log_odds > 0);
    if (agrees && std::abs(v.log_odds) > strongest)
      strongest = std::abs(v.log_odds), result.decisive = v.principle;
  }
  if (!result.decisive) result.decisive = views.front().principle;  // a mean of exactly 0
  return result;
}

int compare_rank(const Principle& x, const Principle& y) {
  if (tier(x) != tier(y)) return tier(x) < tier(y) ? 1 : -1;
  return x.weight > y.weight ? 1 : x.weight < y.weight ? -1 : 0;
}

std::vector<View> views_of(const Constitution& constitution, const Json& label) {
  std::vector<View> views;
  const auto odds = label.find("log_odds");
  if (odds == label.end() || !odds->is_object()) return views;
  for (const Principle& p : constitution.principles)
    if (const auto one = odds->find(p.id); one != odds->end() && one->is_number())
      views.push_back({&p, one->get<double>()});
  return views;
}

std::vector<Conflict> conflicts(const Constitution& constitution, const std::vector<Json>& labels) {
  std::map<std::pair<std::string, std::string>, Conflict> found;
  std::size_t number = 0;
  for (const Json& label : labels) {
    const std::string id = label.contains("id") && label["id"].is_string() ? label["id"].get<std::string>()
                                                                           : std::to_string(number);
    ++number;
    const std::vector<View> views = views_of(constitution, label);
    const double p = label.contains("p") && label["p"].is_number() ? label["p"].get<double>() : 0.5;
    for (std::size_t i = 0; i < views.size(); ++i) {
      for (std::size_t j = i + 1; j < views.size(); ++j) {
        const bool swap = compare_rank(*views[i].principle, *views[j].principle) < 0;
        const View &x = views[swap ? j : i], &y = views[swap ? i : j];
        Conflict& c = found[{x.principle->id, y.principle->id}];
        c.x = x.principle->id, c.y = y.principle->id, c.rank = compare_rank(*x.principle, *y.principle);
        ++c.together;
        if (std::abs(x.log_odds) < kClear || std::abs(y.log_odds) < kClear ||
            (x.log_odds > 0) == (y.log_odds > 0))
          continue;
        ++c.apart;
        c.ids.push_back(id);
        if (p != 0.5) ++((p > 0.5) == (x.log_odds > 0) ? c.won_x : c.won_y);
      }
    }
  }
  std::vector<Conflict> list;
  for (auto& [key, c] : found)
    if (c.apart > 0) list.push_back(std::move(c));
  std::stable_sort(list.begin(), list.end(),
                   [](const Conflict& a, const Conflict& b) { return a.apart > b.apart; });
  return list;
}

}  // namespace cai
