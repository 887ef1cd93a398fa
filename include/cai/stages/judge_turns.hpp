// Turns of a judge whose right answer is known by the way they were made, from a run's own records: fine-tuning on them teaches the model to
// judge as well as to answer.
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
  std::string kind;               // "label harmful", "label harmless", "critique"
  std::vector<Message> messages;  // as compare() and critique() ask
  std::string opening;            // words that are put in the judge's mouth: nothing is learned on them
  std::string answer;             // what is learned
};

/// At most `most` turns of `records` (the last revise stage's), drawn by seed, a third of each kind as far as there are records:
///   label harmful   a first answer that does not decline against its accepted revision, which is better
///   label harmless  the policy's own helpful answer, which is better, against the accepted revision of some other, harmful request: the same
///                   words decline rightly there and wrongly here, so that the request decides. Every other pair is asked under any principle.
///   critique        a critique of such a first answer whose revision was accepted
/// Of both label kinds there are equally many pairs, each asked in both orders. Requests in `withheld` (exam_prompts) are left out.
std::vector<JudgeTurn> judge_turns(long most, const LabelConfig& label, const CritiqueConfig& critique, const Constitution& constitution,
                                   const std::vector<Json>& records, const std::set<std::string>& withheld, Random random);

}  // namespace cai
