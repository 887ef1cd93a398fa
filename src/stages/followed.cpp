#include "cai/stages/followed.hpp"

#include "cai/base/statistics.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/checking.hpp"
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
  return broken_by_principle(check_principles(constitution, tags, request, answer));
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
  // Filled apart: a reference into ordered JSON dies when a key is added beside it.
  Json followed = Json::object(), differences = Json::object(), last_step = Json::object();
  for (const Principle& principle : constitution.principles) {
    std::vector<std::vector<double>> values;
    for (std::size_t m = 0; m < all.models.size(); ++m)
      values.push_back(values_of(all, m, principle.id));
    if (values.front().empty()) continue;
    Json by_model = Json::object(), to_first = Json::object();
    for (std::size_t m = 0; m < all.models.size(); ++m) {
      by_model[all.models[m].name] = share_json(values[m]);
      if (m > 0 && values[m].size() == values.front().size())
        to_first[all.models[m].name] = paired_json({values[m]}, {values.front()}, true, samples, seed);
    }
    followed[principle.id] = std::move(by_model);
    differences[principle.id] = std::move(to_first);
    if (values.size() >= 3 && values[2].size() == values[1].size())
      last_step[principle.id] = paired_json({values[2]}, {values[1]}, true, samples, seed);
  }
  if (followed.empty()) return;
  figures["followed"] = std::move(followed);
  figures["followed_differences"] = std::move(differences);
  if (!last_step.empty()) figures["followed_last_step"] = std::move(last_step);
}

}  // namespace cai
