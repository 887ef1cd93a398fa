#include "cai/stages/judge_turns.hpp"

#include <algorithm>

#include "cai/base/text.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/clean.hpp"
#include "cai/stages/compare.hpp"
#include "cai/stages/exam.hpp"
#include "cai/stages/near_duplicates.hpp"
#include "cai/stages/pairs.hpp"
#include "cai/stages/principles.hpp"
#include "cai/data/refusal.hpp"

namespace cai {
namespace {

constexpr double kNear = 0.7;  // as prompts.near_duplicate is by default

const Principle* find_principle(const Constitution& constitution, const std::string& id) {
  const auto found = std::find_if(constitution.principles.begin(), constitution.principles.end(),
                                  [&](const Principle& p) { return p.id == id; });
  return found == constitution.principles.end() ? nullptr : &*found;
}

// A pair whose first answer is better.
struct Known {
  std::string id, prompt, good, bad;
  const Principle* principle = nullptr;
};

template <class T>
std::vector<T> drawn(const std::vector<T>& all, std::size_t most, Random random) {
  std::vector<T> some;
  for (const std::size_t i : random.permutation(all.size())) {
    if (some.size() == most) break;
    some.push_back(all[i]);
  }
  return some;
}

}  // namespace

std::vector<JudgeTurn> judge_turns(long most, const LabelConfig& label, const CritiqueConfig& critique,
                                   const Constitution& constitution, const std::vector<Json>& records,
                                   const std::vector<Json>& people, const std::vector<std::string>& withheld,
                                   Random random) {
  NearDuplicates of_exam(kNear);
  for (const std::string& prompt : withheld)
    of_exam.add(prompt);
  std::vector<Known> harmful, harmless, decided;
  std::vector<JudgeTurn> critiques;
  const std::vector<Message> critique_shots = critique_exemplars(constitution, critique.examples),
                             label_shots = label_exemplars(constitution.label_examples, label.examples,
                                                           label.chain_of_thought);
  const std::string opening = critique_opening(constitution, critique.examples);
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Json& record = records[i];
    const std::string id = record_id(record, i), prompt = text_field(record, "prompt", i),
                      kind = kind_of(record), response = optional_text(record, "response");
    if (of_exam.has_like(prompt)) continue;
    if (kind == "ordinary" || kind == "borderline") {
      std::string why;
      const std::string own = own_answer(response, optional_text(record, "finish"), why);
      if (why.empty()) harmless.push_back({id, prompt, own, "", nullptr});
      continue;
    }
    const Principle* principle = find_principle(constitution, optional_text(record, "principle"));
    const std::string revision = optional_text(record, "revision");
    if (!optional_flag(record, "decline") || !principle || revision.empty() ||
        !optional_text(record, "revision_problem").empty() || words_of(response).empty() ||
        is_refusal(response))
      continue;
    harmful.push_back({id, prompt, revision, response, principle});
    // The critique of the first answer stands in the history once there was another round.
    const Json& first =
        record.contains("history") && record["history"].is_array() && !record["history"].empty()
            ? record["history"].front()
            : record;
    const std::string words = optional_text(first, "critique");
    const Principle* under = find_principle(constitution, optional_text(first, "principle"));
    if (under && optional_text(first, "critique_problem").empty() && words.size() > opening.size() &&
        words.starts_with(opening))
      critiques.push_back({id + "#judge-critique", "critique",
                           critique_question(critique_shots, prompt, response, *under), opening,
                           words.substr(opening.size())});
  }

  for (std::size_t i = 0; i < people.size(); ++i)
    for (const Pair& pair : pairs_of(people[i], i, false, random.derive("people"))) {
      if (!pair.human || *pair.human == 0.5 || of_exam.has_like(pair.record.at("prompt").get<std::string>()))
        continue;
      const std::string id = record_id(pair.record, i);
      const std::vector<const Principle*> fitting = principles_for(constitution, pair.record, false);
      if (fitting.empty()) continue;
      const bool is_a_better = *pair.human > 0.5;
      decided.push_back({id, pair.record.at("prompt").get<std::string>(), is_a_better ? pair.a : pair.b,
                         is_a_better ? pair.b : pair.a,
                         draw_principle(fitting, random.derive(id).derive("principle"))});
    }

  const std::size_t share = static_cast<std::size_t>(std::max(0L, most)) / (decided.empty() ? 3 : 4) /
                            2;  // pairs of each kind, at most
  const std::size_t pairs = std::min({share, harmful.size(), harmless.size()});
  std::vector<JudgeTurn> turns;
  const auto add = [&](const Known& known, const std::string& kind) {
    const Comparison comparison{&known.prompt, &known.good, &known.bad, known.principle, random};
    for (const bool swapped : {false, true}) {
      Choice choice = comparison_choice(label_shots, comparison, swapped, label.chain_of_thought);
      turns.push_back({known.id + "#judge-" + (swapped ? "b" : "a"), kind, std::move(choice.messages),
                       std::move(choice.opening), choice.options[swapped ? 1 : 0]});
    }
  };
  for (const Known& known : drawn(harmful, pairs, random.derive("harmful")))
    add(known, "label harmful");
  for (Known& known : drawn(harmless, pairs, random.derive("harmless"))) {
    Random mine = random.derive(known.id);
    known.bad = harmful[mine.below(harmful.size())].good;
    const std::vector<const Principle*> fitting = helping_principles(constitution);
    known.principle = fitting.empty() ? &no_principle() : draw_principle(fitting, mine.derive("principle"));
    add(known, "label harmless");
  }
  for (const Known& known : drawn(decided, share, random.derive("people")))
    add(known, "label people");
  for (JudgeTurn& turn : drawn(critiques, 2 * pairs, random.derive("critique")))
    turns.push_back(std::move(turn));
  return turns;
}

}  // namespace cai
