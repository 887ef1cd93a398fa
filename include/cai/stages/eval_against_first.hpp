// What eval measures of the other models with the help of the first one.
#pragma once

#include <vector>

#include "cai/config/config.hpp"
#include "cai/io/json.hpp"
#include "cai/stages/eval.hpp"

namespace cai {

/// Adds to the figures of two models or more: `pairwise` (the first model as judge of each other one's answers against its own) and the measure
/// `divergence` (KL(model || first) of an answer, nats: what the two give the model's own answers, sampled at temperature 1 to plain prompts of
/// all kinds; of no best-of-n). records: models x items, each model's first `plain` ones being answers to plain prompts and tests.
void figures_against_first(Json& figures, const std::vector<EvalModel>& models, const std::vector<Json>& records, std::size_t items, std::size_t plain,
                           const EvalConfig& config, const EngineConfig& engine, Random random);

}  // namespace cai
