// critique: an answer is criticised under one principle (Bai et al. 2022, section 3.1).
#pragma once

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/records.hpp"

namespace cai {

/// Reads responses or the last round's revisions, writes them with {round, principle, principle_by, answer
/// (the text criticised), critique, critique_by, critique_problem}. `round` counts from 1. The principle: one
/// whose check the answer breaks, which is then the critique. Else one of those without a check that name the
/// record's most specific tag: the only one, or the one that the model names (config.principle "ask"), or one
/// drawn by seed. Where the model finds none broken, nothing is criticised ("none-violated"). Unusable
/// critiques are kept with their problem and counted by reason.
Json critique(const CritiqueConfig& config, const Constitution& constitution, int round,
              const std::vector<Json>& responses, RecordWriter& out, Speaker& model, Random random,
              const ProgressFn& progress);

}  // namespace cai
