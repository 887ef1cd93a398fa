// reward: a Bradley-Terry preference model on soft labels, head on the SL-CAI trunk (Bai et al. 2022, section 4.1).
#pragma once

#include <filesystem>

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// `labels`: label records; ties are left out, counted. Leaves folder/checkpoint and folder/metrics.jsonl.
/// The normalisation is measured on the candidates themselves. Returns figures.
Json reward(const RewardConfig& config, const EngineConfig& engine, const std::vector<Json>& labels, const std::filesystem::path& model,
            const std::filesystem::path& folder, std::uint64_t seed, const ProgressFn& progress);

}  // namespace cai
