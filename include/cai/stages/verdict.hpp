// What an evaluation says, in words.
#pragma once

#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// A measure's name for people, e.g. "Harmful requests complied with".
std::string measure_title(const std::string& measure);

/// Whether a measure is a share, to be shown in percent.
bool is_share(const std::string& measure);

/// Whether the difference is beyond chance: its interval leaves out 0 and, where it was tested, its p-value
/// is below 0.05 also when it is adjusted for the number of tests (holm_p).
bool is_beyond_chance(const Json& difference);

/// One line a measure that counts: the first model's value and the last one's, and whether they differ beyond
/// chance. Of eval's figures; empty with one model, or without measures.
std::vector<std::string> verdict(const Json& eval);

/// What a person should know of a stage, from its figures: the reward model's `doubts`, and of `language`.
std::vector<std::string> warnings_of(const std::string& stage, const Json& figures);

}  // namespace cai
