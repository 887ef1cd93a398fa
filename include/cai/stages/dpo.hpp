// dpo: the policy learns from the labels directly, without a reward model (Rafailov et al. 2023, arXiv
// 2305.18290).
#pragma once

#include <filesystem>

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/data/decisions.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// Pairs as in training_pairs; the reference is `model`. Leaves folder/checkpoint, folder/metrics.jsonl and
/// folder/examples.jsonl. Returns figures.
Json dpo(const DpoConfig& config, const EngineConfig& engine, const std::vector<Json>& labels,
         const HybridConfig& hybrid, const std::vector<Json>& human_pairs, const People& people,
         const std::filesystem::path& model, const std::filesystem::path& folder, std::uint64_t seed,
         const ProgressFn& progress);

}  // namespace cai
