// prompts: chooses the training prompts, and expands a set by few-shot generation (Bai et al. 2022,
// section 3.2) with near-duplicates removed.
#pragma once

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/data/prompt.hpp"
#include "cai/data/suites.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/records.hpp"

namespace cai {

/// How many of `drawn` prompts of a kind are asked a second time, in a wrapper.
long wrapped_count(const PromptsConfig& config, long drawn);

/// Draws prompts of split "train" of each kind by seed (at most as many as configured), then config.expand
/// generated ones (tagged "generated"; `model` may be null when expand is 0). What eval asks, the held-out
/// prompts and `asked_elsewhere` (the constitution's tests), is never among them: neither in a run's first
/// iteration nor in later ones. Near-duplicates (NearDuplicates) of earlier ones and of what eval asks are
/// dropped and counted. Of each kind a share of config.wrapped is then asked a second time, each in one of
/// the wrappers: {id: ID/WRAPPER, wrapper, request} with the tags of the plain prompt.
Json prompts(const PromptsConfig& config, const std::vector<Prompt>& all,
             const std::vector<std::string>& asked_elsewhere, const std::vector<Attack>& wrappers,
             RecordWriter& out, Speaker* model, Random random, const ProgressFn& progress);

}  // namespace cai
