// Figures with intervals, differences between models, and gates on them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cai/base/statistics.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// Values of one measure by group; most measures have one group, a balanced accuracy has two.
using Groups = std::vector<std::vector<double>>;

/// {value, low, high, n}
Json interval_json(const Interval& interval);

/// Mean of a - b, paired, with its bootstrap interval; for yes/no values (0 or 1) also mcnemar_p, McNemar's exact test, and
/// smallest_detectable, what so many pairs can show. Throws Bug when the two differ in size.
Json paired_json(const Groups& a, const Groups& b, bool yes_no, long samples, std::uint64_t seed);

/// One line for each gate that fails, e.g. "over_refusal <= base + 5pt: 12.5 % against 2.5 %". A gate names a measure of eval or of one of
/// its suites. Throws InputError for a gate it cannot read, or whose measure is not there.
std::vector<std::string> failed_gates(const std::vector<std::string>& gates, const Json& figures);

/// Throws InputError for a gate that failed_gates could not read, or that names none of these measures.
void check_gate(const std::string& gate, const std::vector<std::string>& measures);

}  // namespace cai
