#include "cai/stages/revise.hpp"

#include <span>

#include "cai/base/text.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/compare.hpp"
#include "cai/stages/revisions.hpp"

namespace cai {
namespace {

// Asks the model which is better under the principle, the answer or the revision; a revision that is not is
// marked.
void compare_with_answers(const Constitution& constitution, std::span<Json> records, Speaker& model,
                          Random random) {
  std::vector<std::string> prompts, answers, revisions;
  std::vector<Json*> asked;
  for (Json& record : records) {
    const bool is_open =
        optional_text(record, "revision_problem").empty() && !optional_text(record, "principle").empty();
    if (!is_open || record.contains("followed")) continue;
    prompts.push_back(optional_text(record, "prompt"));
    answers.push_back(optional_text(record, "answer"));
    revisions.push_back(optional_text(record, "revision"));
    asked.push_back(&record);
  }
  std::vector<Comparison> comparisons;
  for (std::size_t k = 0; k < asked.size(); ++k)
    comparisons.push_back({&prompts[k], &revisions[k], &answers[k],
                           &constitution.principle(optional_text(*asked[k], "principle")), random});
  const std::vector<Verdict> verdicts = compare(LabelConfig{}, {}, comparisons, model);
  for (std::size_t k = 0; k < asked.size(); ++k) {
    (*asked[k])["preferred"] = verdicts[k].log_odds();
    if (verdicts[k].log_odds() <= 0) (*asked[k])["revision_problem"] = "not-better";
  }
}

// Whether no other try is wanted: the revision is fit to be kept and, where checks apply, follows all of
// them.
bool is_settled(const Json& record) {
  if (!optional_text(record, "revision_problem").empty()) return false;
  const auto followed = record.find("followed");
  return followed == record.end() || optional_number(*followed, "after") >= 1;
}

// Asks once more for each record that is not settled.
void try_again(const Revisions& revisions, long attempt, std::span<const std::size_t> which,
               std::vector<std::vector<Reply>>& replies, std::vector<Json>& records, Speaker& model) {
  std::vector<Ask> asks;
  std::vector<NextRevision> next;
  std::vector<std::size_t> asked, tried;
  for (std::size_t k = 0; k < which.size(); ++k) {
    if (replies[k].empty() || is_settled(records[k])) continue;
    tried.push_back(k);
    NextRevision one = revisions.next(which[k], records[k], attempt);
    if (!one.needs_model()) {
      replies[k].push_back({.text = one.mend->text, .finish = kMended});
      continue;
    }
    asked.push_back(k);
    asks.push_back(one.ask);
    next.push_back(std::move(one));
  }
  model.say(asks,
            [&](std::size_t a, Reply reply) { replies[asked[a]].push_back(next[a].read(std::move(reply))); });
  for (std::size_t k : tried)
    records[k] = revisions.best(which[k], replies[k]);
}

Json figures_of(const std::vector<Json>& records) {
  long asked = 0, usable = 0, opened = 0, tries = 0, mended = 0;
  double before = 0, after = 0, checked = 0;
  for (const Json& record : records) {
    asked += !optional_text(record, "principle").empty();
    usable += optional_text(record, "revision_problem").empty();
    opened += !optional_text(record, "opening").empty();
    tries += static_cast<long>(optional_number(record, "tries"));
    if (const auto followed = record.find("followed"); followed != record.end()) {
      const bool is_kept = optional_text(record, "revision_problem").empty();
      mended += is_kept && optional_flag(record, "mended");
      before += optional_number(*followed, "before");
      after += optional_number(*followed, is_kept ? "after" : "before");
      ++checked;
    }
  }
  Json figures = {
      {"records", records.size()}, {"revisions", asked}, {"usable", usable},
      {"with_opening", opened},    {"tries", tries},     {"problems", count_by(records, "revision_problem")}};
  if (checked == 0) return figures;
  figures["mended"] = mended;
  figures["followed"] = {{"before", before / checked}, {"after", after / checked}};
  return figures;
}

}  // namespace

Json revise(const ReviseConfig& config, const Constitution& constitution, const std::vector<Json>& critiques,
            RecordWriter& out, Speaker& model, Random random, const ProgressFn& progress) {
  for (std::size_t i = 0; i < critiques.size(); ++i)
    for (const char* field : {"prompt", "answer", "principle", "critique"})
      text_field(critiques[i], field, i);
  const Revisions revisions(config, constitution, critiques, random);
  for (std::size_t i = 0; i < critiques.size(); ++i)
    revisions.principle(i);  // throws where the constitution has no such principle
  const auto asks_of = [&](std::size_t i) { return revisions.asks(i); };
  const auto finish = [&](std::span<const std::size_t> which, std::vector<std::vector<Reply>> replies) {
    std::vector<Json> records;
    for (std::size_t k = 0; k < which.size(); ++k)
      records.push_back(revisions.best(which[k], replies[k]));
    for (long attempt = 0;; ++attempt) {
      if (config.judge == "yes") compare_with_answers(constitution, records, model, random.derive("judge"));
      if (attempt + 1 >= config.tries) return records;
      try_again(revisions, attempt + 1, which, replies, records, model);
    }
  };
  return figures_of(ask_in_windows("revise", critiques.size(), out, model, progress, asks_of, finish));
}

}  // namespace cai
