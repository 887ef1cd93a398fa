// candidates: answers to compare, K a prompt, sampled from the SL-CAI policy (Bai et al. 2022, section 4.1),
// or, for contrast, one under a principle and one under its opposite (Yang et al. 2023, RLCD).
#pragma once

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/records.hpp"

namespace cai {

/// `initial`: the model that the run began with; it answers where declining is right and the opposite is
/// asked for, which a policy that has learned to decline no longer does (both sides would decline, and the
/// signal die). Without it `model` does. Writes {id, prompt, tags, candidates: [{text, finish, side: "plain"
/// | "principle" | "opposite", principle}]}, one a prompt.
Json candidates(const CandidatesConfig& config, const Constitution& constitution, bool contrast,
                const std::vector<Json>& prompts, RecordWriter& out, Speaker& model, Speaker* initial,
                Random random, const ProgressFn& progress);

}  // namespace cai
