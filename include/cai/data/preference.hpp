// How the views of several principles on one pair of answers become one preference.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cai/data/constitution.hpp"

namespace cai {

/// Log-odds from which on a principle is said to be for or against an answer: P outside of 0.4 to 0.6.
constexpr double kClear = 0.4;

/// What one principle says of a pair: log-odds that a is better.
struct View {
  const Principle* principle = nullptr;
  double log_odds = 0;
};

struct Preference {
  double log_odds = 0;                  // that a is better
  const Principle* decisive = nullptr;  // the strongest view in that direction, of the tier that overruled
                                        // where one did; null without views
  bool by_rank = false;                 // a higher tier overruled the mean of all
};

/// The mean of all views by weight; but the first tier (hard principles, then by priority) whose own mean is
/// clear decides the direction: where the mean of all points the other way, that tier's mean stands alone. So
/// priority matters in conflicts only.
Preference prefer(std::span<const View> views);

/// Whether x goes before y in a conflict: hard before not, then the lower priority number, then the larger
/// weight. 0: neither.
int compare_rank(const Principle& x, const Principle& y);

/// The views of a label record by the principles of `constitution`; of principles that it does not have there
/// are none.
std::vector<View> views_of(const Constitution& constitution, const Json& label);

/// Two principles over many labels.
struct Conflict {
  std::string x, y;              // ids, x before y in rank (where neither is, in the constitution's order)
  long together = 0;             // labels on which both have a view
  long apart = 0;                // both clear, in opposite directions
  long won_x = 0, won_y = 0;     // of those: whose side the label took; the rest are ties
  int rank = 0;                  // of x against y, as compare_rank
  std::vector<std::string> ids;  // of the labels on which they pull apart
};

/// Pairs of principles that pull apart at least once, most often first. A label with fewer than two views
/// cannot show a conflict.
std::vector<Conflict> conflicts(const Constitution& constitution, const std::vector<Json>& labels);

}  // namespace cai
