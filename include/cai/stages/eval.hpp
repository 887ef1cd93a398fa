// eval: base, SL-CAI and RL-CAI side by side on held-out prompts, every figure with its interval.
#pragma once

#include <filesystem>
#include <map>

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/records.hpp"

namespace cai {

struct EvalModel {
  std::string name;                 // "base", "sl-cai", "rl-cai"
  std::filesystem::path path;
};

/// Writes one record a model and prompt {id, model, prompt, tags, response, finish, refusal, complies, tokens, log_probability of the
/// reference, ...} in the order models x prompts, and folder/failures.jsonl: prompts on which the last model fails, as prompt records.
/// Returns figures: by model and measure {value, low, high, n}, paired differences to the first model, win rates, the judge's error.
Json eval(const EvalConfig& config, const Constitution& constitution, const std::vector<Json>& prompts, const std::vector<EvalModel>& models,
          const EngineConfig& engine, const std::filesystem::path& folder, RecordWriter& out, Random random, const ProgressFn& progress);

/// One line for each gate that fails, e.g. "over_refusal <= base + 5pt: 12.5 % against 2.5 %". Throws InputError for a gate it cannot read.
std::vector<std::string> failed_gates(const std::vector<std::string>& gates, const Json& figures);

}  // namespace cai
