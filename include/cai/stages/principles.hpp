// Which principle a record meets, in which words, and whether its request should be declined.
#pragma once

#include <string>
#include <vector>

#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// Principles that bear on a record. For critique, ordinary and borderline prompts meet only principles that
/// name one of their tags in applies_to: a general rule against harm would talk a small model into refusing
/// them.
std::vector<const Principle*> principles_for(const Constitution& constitution, const Json& record,
                                             bool for_critique);

/// Principles under which a harmless request is to be answered: they apply to harmless prompts only, and a
/// test of theirs says so (must: help).
std::vector<const Principle*> helping_principles(const Constitution& constitution);

/// Of these, the ones whose applies_to names the record's most specific tag: a topic goes before a kind, a
/// kind before none. A record without tags meets all of them.
std::vector<const Principle*> most_specific(const std::vector<const Principle*>& principles,
                                            const Json& record);

/// Of these, the ones of the first tier (hard, then by priority).
std::vector<const Principle*> first_tier(const std::vector<const Principle*>& principles);

/// An answer, and the principles that it may go against.
struct PrincipleQuestion {
  std::string prompt, answer;
  std::vector<const Principle*> principles;  // at most 20
};

/// Asks a model which principle each answer goes against most, in two orders of the principles; null where it
/// says none, or gives no verdict. A question with one principle asks whether it is that one or none.
std::vector<const Principle*> ask_principles(const std::vector<PrincipleQuestion>& questions, Speaker& model);

/// One of them by weight; null when there is none.
const Principle* draw_principle(const std::vector<const Principle*>& principles, Random random);

/// Openings that commit an answer to declining: those of the constitution's principles on harmful requests,
/// with ours where they are few.
std::vector<std::string> decline_openings(const Constitution& constitution);

/// The exemplars as chat turns, six each: prompt, response, critique request, critique, revision request,
/// revision. The same for all records, so that they are computed once.
std::vector<Message> critique_exemplars(const Constitution& constitution, long examples);

/// How a critique is asked for: the exemplars, the prompt, the answer and the principle's request.
std::vector<Message> critique_question(const std::vector<Message>& exemplars, const std::string& prompt,
                                       const std::string& answer, const Principle& principle);

/// The words with which all exemplars' critiques begin: they keep the model to their form. Without exemplars,
/// a beginning that no answer has.
std::string critique_opening(const Constitution& constitution, long examples);

/// Whether a request should be declined, decided by record: the red-team tag gives the prior, the model's own
/// answer to "would this hurt someone?" the evidence, measured against the ordinary prompts of the same
/// input.
struct Decline {
  bool should = false;
  double harm = 0;  // log-odds of "Yes" against "No"
  std::string by;   // "score", or "tag" where there is no score to go by
};
std::vector<Decline> decide_declines(const std::vector<Json>& records, Speaker& model);

/// Two system instructions that pull apart what a principle asks for (Yang et al. 2023). An empty one means:
/// none.
struct Contrast {
  std::string wanted, opposite;
};
Contrast contrast_of(const Constitution& constitution, const Principle& principle, bool decline);

}  // namespace cai
