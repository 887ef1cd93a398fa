#include "cai/stages/followed.hpp"

#include "cai/base/statistics.hpp"
#include "cai/data/answer_check.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/figures.hpp"

namespace cai {
namespace {

// 1 where the answer follows the principle, 0 where not; none where its check did not apply.
std::optional<double> follows(const Json& record, const std::string& principle) {
  if (record.contains("must") || !record.contains("checks") || !record["checks"].contains(principle))
    return std::nullopt;
  return record["checks"][principle] == "" ? 1 : 0;
}

std::vector<double> values_of(const EvalRecords& all, std::size_t model, const std::string& principle) {
  std::vector<double> values;
  for (std::size_t i = 0; i < all.plain; ++i) {
    if (const auto value = follows(all.at(model, i), principle)) values.push_back(*value);
  }
  return values;
}

Json share_json(const std::vector<double>& values) {
  long yes = 0;
  for (const double value : values)
    yes += value > 0;
  return interval_json(wilson(yes, static_cast<long>(values.size())));
}

}  // namespace

Json check_answer(const Constitution& constitution, const std::vector<std::string>& tags,
                  std::string_view request, std::string_view answer) {
  Json checks = Json::object();
  for (const Principle& principle : constitution.principles) {
    if (principle.check.empty() || !principle.applies(tags)) continue;
    std::string broken;
    for (const std::string& one : apply_check(principle.check, request, answer).broken) {
      broken += (broken.empty() ? "" : "; ") + one;
    }
    checks[principle.id] = broken;
  }
  return checks;
}

std::optional<double> followed_share(const Json& record) {
  if (record.contains("must") || !record.contains("checks") || record["checks"].empty()) return std::nullopt;
  double followed = 0;
  for (const Json& broken : record["checks"])
    followed += broken == "";
  return followed / static_cast<double>(record["checks"].size());
}

void add_followed(Json& figures, const Constitution& constitution, const EvalRecords& all, long samples,
                  std::uint64_t seed) {
  for (const Principle& principle : constitution.principles) {
    const std::vector<double> first = values_of(all, 0, principle.id);
    if (first.empty()) continue;
    Json& by_model = figures["followed"][principle.id];
    Json& differences = figures["followed_differences"][principle.id];
    differences = Json::object();
    for (std::size_t m = 0; m < all.models.size(); ++m) {
      const std::vector<double> values = values_of(all, m, principle.id);
      const std::string& name = all.models[m].name;
      by_model[name] = share_json(values);
      if (m > 0 && values.size() == first.size())
        differences[name] = paired_json({values}, {first}, true, samples, seed);
    }
  }
}

}  // namespace cai
