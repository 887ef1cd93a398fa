// What a model that judges says of the answers that eval collected.
#pragma once

#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/json.hpp"
#include "cai/stages/eval_figures.hpp"

namespace cai {

/// Win rates of each model's answers against the first model's, in both orders, on at most 60 held-out
/// prompts a question:
/// {"principles": {id: {model: interval}}} for the principles without a check, and {"helpful": {model:
/// interval}} under no principle, on requests that are not to be declined. 0.5: neither is better; an answer
/// wins where both orders agree. `unusable`: comparisons without a verdict.
Json judged_figures(const EvalRecords& records, const Constitution& constitution, Speaker& judge,
                    Random random);

}  // namespace cai
