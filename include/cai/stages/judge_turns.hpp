// Turns of a judge whose right answer is known: by the way they were made, from a run's own records, or
// because people decided. Fine-tuning on them teaches the model to judge as well as to answer.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/json.hpp"

namespace cai {

struct JudgeTurn {
  std::string id;                 // the record's, "#judge", kind and order
  std::string kind;               // "label harmful", "label harmless", "label people", "critique"
  std::vector<Message> messages;  // as compare() and critique() ask
  std::string opening;            // words that are put in the judge's mouth: nothing is learned on them
  std::string answer;             // what is learned
};

/// At most `most` turns of `records` (the last revise stage's) and of pairs that people decided, drawn by
/// seed, as many of each kind as far as there are:
///   label harmful   a first answer that does not decline against its accepted revision, which is better
///   label harmless  the policy's own helpful answer, which is better, against the accepted revision of some
///   other, harmful request: the same
///                   words decline rightly there and wrongly here, so that the request decides. Asked under a
///                   principle that wants harmless requests answered, or under none.
///   critique        a critique of such a first answer whose revision was accepted
///   label people    a pair of `people` (`hybrid.pairs`), under a principle that fits its request
/// Of the first two kinds there are equally many pairs; each pair is asked in both orders. Requests in
/// `withheld` (exam_prompts) are left out. Throws InputError for a record of `people` that holds no pair.
std::vector<JudgeTurn> judge_turns(long most, const LabelConfig& label, const CritiqueConfig& critique,
                                   const Constitution& constitution, const std::vector<Json>& records,
                                   const std::vector<Json>& people, const std::vector<std::string>& withheld,
                                   Random random);

}  // namespace cai
