// sft: supervised fine-tuning on revisions, the SL-CAI model (Bai et al. 2022, section 3.1).
#pragma once

#include <filesystem>

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/io/json.hpp"
#include "cai/stages/judge_turns.hpp"
#include "cai/train/train.hpp"

namespace cai {

/// `records`: the last revise stage's (revised or not); ordinary answers come in `response`. Unusable revisions are left out, counted by reason.
/// `turns`: what judging is learned from, beside the answers; each weighs as much as an answer of mean length.
/// Trains a copy of `model` and leaves folder/checkpoint (HF layout) and folder/metrics.jsonl, folder/examples.jsonl ({id, use: train | held-out | left-out, why}). Returns figures.
Json sft(const SftConfig& config, const EngineConfig& engine, const std::vector<Json>& records, const std::vector<JudgeTurn>& turns, const std::filesystem::path& model, const std::filesystem::path& folder,
         std::uint64_t seed, const ProgressFn& progress);

/// What the decision loss (train/train.hpp) is about: the first tokens of at least a fiftieth of the declining answers (eight at most, the commonest
/// first) that begin a smaller share of the others. Sets the side of each example whose own first token is on it; the rest have none.
/// `declines`: of each example.
std::vector<int> decide_sides(const std::vector<bool>& declines, std::vector<TrainExample>& examples);

}  // namespace cai
