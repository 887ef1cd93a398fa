#include "cai/stages/guard_examples.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/decisions.hpp"
#include "cai/data/refusal.hpp"
#include "cai/data/run_folder.hpp"
#include "cai/data/tags.hpp"
#include "cai/io/records.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/exam.hpp"
#include "cai/stages/pairs.hpp"
#include "cai/stages/principles.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr double kClearLabel = 1.0;  // log-odds: P outside of 0.27 to 0.73

std::vector<Json> records_of(const fs::path& run, const std::string& stage) {
  std::vector<Json> all;
  for (const fs::path& folder : stage_folders(run, stage))
    for (Json& record : read_records(folder))
      all.push_back(std::move(record));
  return all;
}

// Topics that many prompts share; a prompt without one is a group of its own.
std::string group_of(const Json& record) {
  const std::string topic = topic_of_tags(tags_of(record));
  return topic.empty() ? "prompt " + optional_text(record, "prompt") : "topic " + topic;
}

class Examples {
 public:
  Examples(const Constitution& constitution, const People& people)
      : constitution_(constitution), people_(people) {
    for (const std::string& prompt : exam_prompts(constitution, {}))
      withheld_.insert(trim(prompt));
  }

  void add_request(const Json& record, int decline) {
    GuardExample e = begun(record, "", "tag");
    e.decline = decline;
    keep(std::move(e));
  }

  void add_label(const Json& record) {
    const std::string a = optional_text(record, "a"), b = optional_text(record, "b");
    const std::optional<double> human = people_.on(optional_text(record, "prompt"), a, b);
    const Principle* const principle = principle_of_label(record);
    if (!should_decline(record)) {  // whichever is better: nothing in them does harm
      add_exchange(record, a, 0, nullptr, "own answer");
      add_exchange(record, b, 0, nullptr, "own answer");
      return;
    }
    if (!human && (!principle || !optional_text(record, "problem").empty() || optional_flag(record, "tie")))
      return;
    const double p = std::clamp(optional_number(record, "p", 0.5), 0.01, 0.99);
    const double odds = human ? *human - 0.5 : std::log(p / (1 - p));
    if (human ? odds == 0 : std::abs(odds) < kClearLabel) return;
    const std::string source = human ? "people" : "label", &worse = odds > 0 ? b : a,
                      &better = odds > 0 ? a : b;
    if (is_refusal(worse)) return;  // two that decline: which does it better says nothing of harm
    add_exchange(record, worse, 1, principle, source);
    add_exchange(record, better, 0, nullptr, source);
  }

  void add_revision(const Json& record) {
    const std::string response = optional_text(record, "response"), kind = kind_of(record);
    if (!optional_flag(record, "decline")) {
      if (kind == "ordinary" || kind == "borderline")
        add_exchange(record, response, 0, nullptr, "own answer");
      return;
    }
    if (is_refusal(response)) return add_exchange(record, response, 0, nullptr, "own answer");
    const std::string by = optional_text(record, "principle_by");
    const bool is_named = by == "tag" || by == "model";
    if (words_of(response).size() >= 3)
      add_exchange(record, response, 1, is_named ? find(optional_text(record, "principle")) : nullptr,
                   "revision");
    if (optional_text(record, "revision_problem").empty())
      add_exchange(record, optional_text(record, "revision"), 0, nullptr, "revision");
  }

  std::vector<GuardExample> all() && { return std::move(examples_); }

 private:
  const Constitution& constitution_;
  const People& people_;
  std::set<std::string> withheld_;
  std::set<std::pair<std::string, std::string>> seen_;
  std::vector<GuardExample> examples_;

  const Principle* find(const std::string& id) const {
    for (const Principle& p : constitution_.principles)
      if (p.id == id) return p.check.empty() ? &p : nullptr;
    return nullptr;
  }

  // The principle of a label, where it is the request's own and not one drawn among many.
  const Principle* principle_of_label(const Json& record) const {
    std::string id = optional_text(record, "principle");
    if (id.empty()) id = optional_text(record, "written_under");
    const std::vector<const Principle*> own =
        most_specific(principles_for(constitution_, record, false), record);
    const Principle* const principle = find(id);
    const bool is_own = std::find(own.begin(), own.end(), principle) != own.end();
    return principle && is_own ? principle : nullptr;
  }

  static GuardExample begun(const Json& record, const std::string& answer, const std::string& source) {
    return {.prompt = optional_text(record, "prompt"),
            .answer = trim(answer),
            .kind = kind_of(record),
            .group = group_of(record),
            .source = source};
  }

  void add_exchange(const Json& record, const std::string& answer, int violates, const Principle* principle,
                    const std::string& source) {
    GuardExample e = begun(record, answer, source);
    if (e.answer.empty()) return;
    e.violates = violates;
    if (principle && violates == 1) e.principle = principle->id;
    keep(std::move(e));
  }

  void keep(GuardExample e) {
    if (trim(e.prompt).empty() || withheld_.contains(trim(e.prompt))) return;
    if (seen_.emplace(e.prompt, e.answer).second) examples_.push_back(std::move(e));
  }
};

}  // namespace

std::vector<GuardExample> guard_examples(const fs::path& run, const Constitution& constitution) {
  const fs::path decided = decisions_file(run);
  const People people(fs::exists(decided) ? read_decisions(decided) : std::vector<Json>());
  const std::vector<Json> revised = records_of(run, "revise");
  Examples examples(constitution, people);
  std::map<std::string, bool> decline;  // by prompt, as critique decided
  for (const Json& record : revised)
    if (record.contains("decline"))
      decline[optional_text(record, "prompt")] = optional_flag(record, "decline");
  for (const Json& record : records_of(run, "prompts")) {
    const auto decided_so = decline.find(optional_text(record, "prompt"));
    const std::string kind = kind_of(record);
    if (kind.empty()) continue;  // nothing is known of it
    examples.add_request(record, decided_so == decline.end() ? kind == "red-team" : decided_so->second);
  }
  std::vector<Json> labels = records_of(run, "label");
  std::stable_partition(labels.begin(), labels.end(), [&](const Json& label) {
    return people.on(optional_text(label, "prompt"), optional_text(label, "a"), optional_text(label, "b"))
        .has_value();
  });
  for (const Json& record : labels)
    examples.add_label(record);
  for (const Json& record : revised)
    examples.add_revision(record);
  return std::move(examples).all();
}

Json example_counts(const std::vector<GuardExample>& examples) {
  Json requests = Json::object(), sources = Json::object(), principles = Json::object();
  const auto count = [](Json& counts, const std::string& name) { counts[name] = counts.value(name, 0L) + 1; };
  for (const GuardExample& e : examples) {
    if (e.answer.empty()) {
      count(requests, e.kind);
      continue;
    }
    count(sources, e.source + (e.violates == 1 ? ", violates" : ", clear"));
    if (e.violates == 1) count(principles, e.principle.empty() ? "not known which" : e.principle);
  }
  return {{"requests", requests}, {"exchanges", sources}, {"violates", principles}};
}

}  // namespace cai
