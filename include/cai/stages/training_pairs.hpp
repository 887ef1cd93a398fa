// The preference pairs that a reward model or DPO learns from, made of labels and of people's pairs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/decisions.hpp"
#include "cai/io/json.hpp"
#include "cai/train/train.hpp"

namespace cai {

struct TrainingPairs {
  std::vector<PreferencePair> train, held_out;  // no prompt is in both
  Json figures;
};

/// `labels`: label records; ties are left out, counted. `human_pairs` (read_pairs) with a person's preference
/// join them, drawn by seed up to hybrid.share of the pairs; what a person decided weighs hybrid.weight.
/// Decisions of `people` stand over labels on the same pair; an answer of their own is better than each of
/// the two that it was written against. AI labels on requests that are to be declined (field `decline`) weigh
/// as much as all other AI labels together; figure `declining_weight`: one of them beside one of the others.
/// Tokens are those of `model`'s template. Leaves folder/examples.jsonl ({id, use: train | held-out |
/// left-out, why, by}). InputError, beginning with the stage's name, when fewer than two pairs are left.
TrainingPairs training_pairs(const std::string& stage, const std::vector<Json>& labels,
                             const HybridConfig& hybrid, const std::vector<Json>& human_pairs,
                             const People& people, const std::filesystem::path& model, double held_out_share,
                             const std::filesystem::path& folder, std::uint64_t seed);

}  // namespace cai
