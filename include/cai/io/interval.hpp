// An interval as it stands in figures.
#pragma once

#include "cai/base/statistics.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// {value, low, high, n}, and `prompts` where answers share prompts. A bound that is not known is null.
Json interval_json(const Interval& interval);

/// Of interval_json's object: {low, high}, minus and plus infinity where a bound is null.
Interval interval_of(const Json& json);

/// "0.25 [0.15, 0.37]" with three digits; "48 (all the same)" where no interval is known.
std::string interval_text(const Json& json);

}  // namespace cai
