// ppo: reinforcement learning from AI feedback (Bai et al. 2022, section 4.2; Schulman et al. 2017).
#pragma once

#include <filesystem>

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// The policy starts from `model` (SL-CAI), which stays as the reference. Leaves folder/checkpoint and
/// folder/metrics.jsonl. Returns figures.
Json ppo(const PpoConfig& config, const EngineConfig& engine, const std::vector<Json>& prompts,
         const std::filesystem::path& model, const std::filesystem::path& reward_model,
         const std::filesystem::path& folder, std::uint64_t seed, const ProgressFn& progress);

}  // namespace cai
