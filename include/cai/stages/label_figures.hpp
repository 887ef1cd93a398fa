// What labels say as a whole.
#pragma once

#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// Counts by kind, by who decided (`decided_by`), by principle and by problem, mean margin, ties; where a
/// judge chose: how often both orders agree, share of the first slot, probability on the options; where
/// people decided too: agreement with them (Cohen's kappa, by principle) and win rates corrected by it.
Json label_figures(const std::vector<Json>& labels, bool contrast);

}  // namespace cai
