#include "cai/stages/figures.hpp"

#include <algorithm>
#include <cmath>

#include "cai/base/error.hpp"

namespace cai {
namespace {

Changes changes_of(const std::vector<double>& a, const std::vector<double>& b) {
  Changes changes;
  for (std::size_t i = 0; i < a.size(); ++i) {
    changes.gained += a[i] > b[i];
    changes.lost += a[i] < b[i];
    ++changes.n;
  }
  return changes;
}

Json paired_yes_no(const Groups& a, const Groups& b) {
  std::vector<Changes> groups;
  std::vector<Interval> differences;
  double changed = 0, n = 0;
  for (std::size_t g = 0; g < a.size(); ++g) {
    const Changes c = changes_of(a[g], b[g]);
    groups.push_back(c);
    differences.push_back(paired_difference(static_cast<double>(c.gained), static_cast<double>(c.lost),
                                            static_cast<double>(c.n)));
    changed += static_cast<double>(c.gained + c.lost);
    n += static_cast<double>(c.n);
  }
  Json json = interval_json(mean_of_independent(differences));
  json["mcnemar_p"] = mcnemar(groups);
  // What a paired comparison of this size can show: 2.8 standard errors of the share of changed verdicts.
  json["smallest_detectable"] = 2.8 * std::sqrt(std::max(0.05, changed / n) / n);
  return json;
}

void find_tests(Json& figures, std::vector<Json*>& tests) {
  if (!figures.is_structured()) return;
  if (figures.is_object() && figures.contains("mcnemar_p")) tests.push_back(&figures);
  for (Json& inner : figures)
    find_tests(inner, tests);
}

}  // namespace

Json paired_json(const Groups& a, const Groups& b, bool yes_no, long samples, std::uint64_t seed) {
  if (a.size() != b.size()) throw Bug("paired difference of other groups");
  for (std::size_t g = 0; g < a.size(); ++g)
    if (a[g].size() != b[g].size())
      throw Bug("paired difference of " + std::to_string(a[g].size()) + " and " +
                std::to_string(b[g].size()) + " values");
  if (yes_no) return paired_yes_no(a, b);
  if (a.size() != 1) throw Bug("a bootstrap of " + std::to_string(a.size()) + " groups");
  return interval_json(bootstrap_difference(a.front(), b.front(), samples, seed));
}

long add_holm(Json& figures) {
  std::vector<Json*> tests;
  find_tests(figures, tests);
  std::vector<double> p;
  for (const Json* test : tests)
    p.push_back(test->at("mcnemar_p").get<double>());
  const std::vector<double> adjusted = holm(p);
  for (std::size_t i = 0; i < tests.size(); ++i)
    (*tests[i])["holm_p"] = adjusted[i];
  return static_cast<long>(tests.size());
}

}  // namespace cai
