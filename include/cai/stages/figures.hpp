// Figures with intervals, and differences between models.
#pragma once

#include <cstdint>
#include <vector>

#include "cai/io/interval.hpp"

namespace cai {

/// Values of one measure by group; most measures have one group, a balanced accuracy has two.
using Groups = std::vector<std::vector<double>>;

/// Difference of the means of a and b, paired. Yes/no values (0 or 1): Tango's interval (of two groups: their
/// mean), `mcnemar_p`, the exact test, and `smallest_detectable`, what so many pairs can show. Others, which
/// have one group: the bootstrap's interval. Throws Bug when the two differ in size.
Json paired_json(const Groups& a, const Groups& b, bool yes_no, long samples, std::uint64_t seed);

/// Adds to every object with `mcnemar_p`, at any depth, `holm_p`: adjusted for the number of all of them
/// (Holm 1979). Returns that number.
long add_holm(Json& figures);

}  // namespace cai
