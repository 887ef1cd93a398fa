// What people bring to a run: their decisions and their preference pairs.
#pragma once

#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/decisions.hpp"

namespace cai {

/// The decisions of hybrid.decisions, a later file's over an earlier one's. Throws InputError.
People people_of(const HybridConfig& config);

/// The records of files of people's pairs (hybrid.pairs, label.exam_pairs); records without a pair are left out and told. Throws InputError.
std::vector<Json> human_pairs_of(const std::vector<std::string>& files);

}  // namespace cai
