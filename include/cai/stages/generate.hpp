// generate: the policy answers prompts (Bai et al. 2022, section 3.1).
#pragma once

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/records.hpp"

namespace cai {

/// Reads prompt records, writes {id, prompt, tags, ..., response, finish, tokens}, one a prompt, in the order
/// of the input. Returns figures: records, tokens, mean_tokens, share finished by a stop token, empty
/// answers.
Json generate(const GenerateConfig& config, const std::vector<Json>& prompts, RecordWriter& out,
              Speaker& model, Random random, const ProgressFn& progress);

}  // namespace cai
