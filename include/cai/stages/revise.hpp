// revise: a model rewrites an answer in the light of its critique (Bai et al. 2022, section 3.1).
#pragma once

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/records.hpp"

namespace cai {

/// Reads critiques, writes them with {opening, revision, revision_problem, tries, mended, followed: {before,
/// after}}. An answer is revised again, config.tries times at most, until a revision passes every filter and
/// follows every check, each time from the best text so far and under the next rule that this breaks: where a
/// small change may do it the text is mended (mending.hpp), else written anew. Of all of them
/// the one is kept that no filter refuses and that follows the principles with a check best (check_score).
/// `followed` has the scores of the answer and of the revision where such principles apply. revision_problem
/// is "" when the revision is fit to learn from; else empty, cut, copy, meta, repeated, off-topic, complies,
/// evades (no answer to a request that is not to be declined), echo (repeats the critique or the principle),
/// not-better (by the checks; with config.judge "yes" and no check, by the model, which compares both in both
/// orders). The answer it replaced stays in `answer`, the first one in `response`; earlier rounds are in
/// `history`.
Json revise(const ReviseConfig& config, const Constitution& constitution, const std::vector<Json>& critiques,
            RecordWriter& out, Speaker& model, Random random, const ProgressFn& progress);

}  // namespace cai
