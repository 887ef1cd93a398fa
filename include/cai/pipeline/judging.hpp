// What a run teaches its judge, and what decides that.
#pragma once

#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/pipeline/hybrid.hpp"
#include "cai/stages/judge_turns.hpp"

namespace cai {

/// The judge's turns of `records` and hybrid.pairs for SFT, at most sft.judge_turns; none for 0.
std::vector<JudgeTurn> judge_turns_of(const Config& config, const Constitution& constitution,
                                      const std::vector<Json>& records, const Brought& brought,
                                      Random random);

/// What decides them beside the sft section and the records, for the stage's key; null where there are none.
Json judge_turns_facts(const Config& config, const Constitution& constitution, const Brought& brought);

}  // namespace cai
