// critique: the model criticises its answer under one principle, drawn by seed for that record and round (Bai
// et al. 2022, section 3.1).
#pragma once

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/records.hpp"

namespace cai {

/// Reads responses or the last round's revisions, writes them with {round, principle, answer (the text
/// criticised), critique, critique_problem}. `round` counts from 1. Unusable critiques are kept with their
/// problem and counted by reason.
Json critique(const CritiqueConfig& config, const Constitution& constitution, int round,
              const std::vector<Json>& responses, RecordWriter& out, Speaker& model, Random random,
              const ProgressFn& progress);

}  // namespace cai
