// explain: one answer of a model, seen by each principle, with a model as judge.
#pragma once

#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// What such an explanation can and cannot show, for output and docs.
extern const char* const kAnswerLimits;

/// Asks `model` for its answer (greedy) and for an alternative (sampled at temperature 1; `against` when
/// given), and as judge, under each principle in both orders, which is better. Returns {prompt, answer,
/// alternative, principles: [{principle, text, log_odds (towards the answer), orders_agree}], preference (as
/// a label would be: log-odds by weight and rank), by_rank, decisive, orders_agree (share), first_slot (share
/// of choices for the first place; 0.5 is unbiased), limits}.
Json explain_answer(const LabelConfig& config, const Constitution& constitution, const std::string& prompt,
                    const std::string& against, long max_new_tokens, Speaker& model, Random random);

}  // namespace cai
