// What a person should be careful with in a run.
#pragma once

#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// Sentences about a stage, from its figures: the reward model's `doubts`, a language that the rules do not
/// know, a judge that sees the position only, few usable revisions, few prompts. `stage` names it.
std::vector<std::string> warnings_of(const std::string& stage, const Json& figures);

}  // namespace cai
