// The adapter that a training stage made, beside its checkpoint.
#pragma once

#include <filesystem>

#include "cai/io/json.hpp"

namespace cai {

struct Llama;
struct RewardModel;

/// Saves what was trained on `model` as folder/adapter, where it is an adapter (PEFT's files). A base model
/// in the same iteration of a run is named by the path from there, so that a run may be moved. Returns its
/// rank, its number of weights and its SHA-256 for the stage's figures; null where there is no adapter, and
/// then folder/adapter is none either.
Json keep_adapter(const Llama& trained, const std::filesystem::path& model,
                  const std::filesystem::path& folder);
Json keep_adapter(const RewardModel& trained, const std::filesystem::path& model,
                  const std::filesystem::path& folder);

}  // namespace cai
