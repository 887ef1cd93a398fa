// What a choice between two options says, as log-odds.
#pragma once

#include <string>

#include "cai/feedback/speaker.hpp"

namespace cai {

/// Log-odds of the first of two options, at most 15 either way; 0, and `problem` says why, where the answer
/// does not count: there is none, or less than `minimum_mass` of the probability is on both.
double choice_odds(const Chosen& decision, double minimum_mass, std::string& problem);

}  // namespace cai
