#include "cai/stages/other_rules.hpp"

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/statistics.hpp"
#include "cai/base/text.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/figures.hpp"
#include "cai/stages/followed.hpp"

namespace cai {
namespace {

// The answers to plain held-out prompts, by model in order of appearance, with the checks of `constitution`.
struct Answers {
  std::vector<EvalModel> models;
  std::vector<Json> records;
};

Answers answers_of(const Constitution& constitution, const std::vector<Json>& eval_records) {
  Answers all;
  for (const Json& record : eval_records) {
    if (record.contains("must") || record.contains("suite")) continue;
    const std::string model = optional_text(record, "model");
    const bool is_new = std::none_of(all.models.begin(), all.models.end(),
                                     [&](const EvalModel& known) { return known.name == model; });
    if (is_new) all.models.push_back({.name = model});
    Json answer = record;
    answer["checks"] = check_answer(constitution, tags_of(record), optional_text(record, "prompt"),
                                    optional_text(record, "response"));
    all.records.push_back(std::move(answer));
  }
  return all;
}

std::vector<double> shares_of(const EvalRecords& all, std::size_t model) {
  std::vector<double> shares;
  for (std::size_t i = 0; i < all.items; ++i)
    if (const auto share = followed_share(all.at(model, i))) shares.push_back(*share);
  return shares;
}

void add_means(Json& figures, const EvalRecords& all, long samples, std::uint64_t seed) {
  std::vector<std::vector<double>> shares;
  for (std::size_t m = 0; m < all.models.size(); ++m)
    shares.push_back(shares_of(all, m));
  figures["prompts"] = shares.front().size();
  for (std::size_t m = 0; m < all.models.size(); ++m) {
    const std::string& name = all.models[m].name;
    figures["mean"][name] = interval_json(bootstrap_mean(shares[m], samples, seed));
    if (m > 0)
      figures["mean_differences"][name] = paired_json({shares[m]}, {shares[0]}, false, samples, seed);
  }
  if (all.models.size() > 2)
    figures["mean_last_step"] = paired_json({shares[2]}, {shares[1]}, false, samples, seed);
}

}  // namespace

Json followed_under(const Constitution& constitution, const std::vector<Json>& eval_records, long samples,
                    std::uint64_t seed) {
  const Answers answers = answers_of(constitution, eval_records);
  const bool is_any = std::any_of(answers.records.begin(), answers.records.end(),
                                  [](const Json& record) { return !record["checks"].empty(); });
  if (!is_any)
    throw InputError(
        constitution.file +
        ": no principle with a check applies to a held-out prompt of this run; see applies_to, and "
        "the prompts' tags");
  const std::size_t items = answers.records.size() / answers.models.size();
  const EvalRecords all{answers.models, answers.records, items, items};
  Json figures = {{"constitution", constitution.name},
                  {"version", constitution.version},
                  {"sha256", constitution.sha256}};
  add_means(figures, all, samples, seed);
  add_followed(figures, constitution, all, samples, seed);
  return figures;
}

Constitution shuffled(Constitution constitution) {
  std::vector<std::vector<std::string>> lists;
  for (const Principle& p : constitution.principles)
    if (!p.check.empty() && std::find(lists.begin(), lists.end(), p.applies_to) == lists.end())
      lists.push_back(p.applies_to);
  if (lists.size() < 2)
    throw InputError(constitution.file +
                     ": all principles with a check apply to the same prompts; there is nothing to shuffle");
  for (Principle& p : constitution.principles) {
    if (p.check.empty()) continue;
    const auto mine = std::find(lists.begin(), lists.end(), p.applies_to) - lists.begin();
    p.applies_to = lists[(static_cast<std::size_t>(mine) + lists.size() / 2) % lists.size()];
  }
  constitution.name += ", shuffled";
  return constitution;
}

}  // namespace cai
