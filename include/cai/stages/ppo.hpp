// ppo: reinforcement learning from AI feedback (Bai et al. 2022, section 4.2; Schulman et al. 2017).
#pragma once

#include <filesystem>

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// The policy starts from `model` (SL-CAI), which stays as the reference. Leaves folder/checkpoint and
/// folder/metrics.jsonl. Returns figures.
/// config.reward says who gives the reward of a prompt: "auto" the checks of the principles that have one and
/// the reward model for the others, by their weights (principle_weight); "checks" the former alone; "model"
/// the latter alone.
Json ppo(const PpoConfig& config, const EngineConfig& engine, const Constitution& constitution,
         const std::vector<Json>& prompts, const std::filesystem::path& model,
         const std::filesystem::path& reward_model, const std::filesystem::path& folder, std::uint64_t seed,
         const ProgressFn& progress);

}  // namespace cai
