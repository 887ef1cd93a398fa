// reward: a Bradley-Terry preference model on soft labels, head on the SL-CAI trunk (Bai et al. 2022,
// section 4.1).
#pragma once

#include <filesystem>

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/data/decisions.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// Pairs as in training_pairs. Leaves folder/checkpoint, folder/metrics.jsonl and folder/examples.jsonl.
/// The normalisation is measured on the candidates themselves. Returns figures.
Json reward(const RewardConfig& config, const EngineConfig& engine, const std::vector<Json>& labels,
            const HybridConfig& hybrid, const std::vector<Json>& human_pairs, const People& people,
            const std::filesystem::path& model, const std::filesystem::path& folder, std::uint64_t seed,
            const ProgressFn& progress);

}  // namespace cai
