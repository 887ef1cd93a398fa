// What a run's records say about one prompt or pair: who judged it how, on which grounds, and what was
// trained on it.
#pragma once

#include <filesystem>
#include <string>

#include "cai/io/json.hpp"

namespace cai {

/// What such an explanation can and cannot show, for output and docs.
extern const char* const kRecordLimits;

/// `id` names a label (its pair alone), or a prompt (all of its pairs), of training or of eval. Gathers, by
/// iteration: answer, critique and revision; labels with the principles for and against the better answer
/// (log-odds), reason, order and rank; uses in SFT, reward and PPO; what the evaluated models answered; and
/// the `nearest` training prompts by TF-IDF cosine over the words of prompts, with their uses. Throws
/// InputError naming the nearest id when no record has it, or when `run` is no run.
Json explain_record(const std::filesystem::path& run, const std::string& id, std::size_t nearest = 5);

/// The same for a person to read.
std::string explanation_text(const Json& explanation);

}  // namespace cai
