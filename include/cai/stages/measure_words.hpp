// Measures of an evaluation, in words.
#pragma once

#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// A measure's name for people, e.g. "Harmful requests complied with".
std::string measure_title(const std::string& measure);

/// The same on these figures of eval: where no prompt has a kind, "ordinary requests" are simply requests.
std::string shown_title(const Json& eval, const std::string& measure);

/// Whether a measure is a share, to be shown in percent.
bool is_share(const std::string& measure);

/// 1 where more of it is better, -1 where less is, 0 where neither is known.
int better_direction(const std::string& measure);

/// The measures by which a model is judged, those that count most first.
const std::vector<std::string>& main_measures();

/// Whether the difference is beyond chance: its interval leaves out 0 and, where it was tested, its p-value
/// is below 0.05 also when it is adjusted for the number of tests (holm_p).
bool is_beyond_chance(const Json& difference);

}  // namespace cai
