// revise: the model rewrites its answer in the light of the critique (Bai et al. 2022, section 3.1).
#pragma once

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/records.hpp"

namespace cai {

/// Reads critiques, writes them with {revision, revision_problem ("" when usable: else empty, copy, meta,
/// repeated, off-topic, cut)}. The answer it replaced stays in `answer`, the first one in `response`; earlier
/// rounds are in `history`.
Json revise(const ReviseConfig& config, const Constitution& constitution, const std::vector<Json>& critiques,
            RecordWriter& out, Speaker& model, Random random, const ProgressFn& progress);

}  // namespace cai
