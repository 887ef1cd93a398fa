// Which labels are worth a person's look, and why.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "cai/data/constitution.hpp"
#include "cai/io/json.hpp"

namespace cai {

struct ReviewItem {
  Json label;
  std::vector<std::string> why;  // "low margin", "principles in conflict", "changes with the order", "the
                                 // reward model disagrees", "against its instruction", "no label: ..."
  double worth = 0;
};

/// Reward margins of `cai score` towards a, by prompt, a and b: ids repeat from one iteration to the next.
using Margins = std::map<std::tuple<std::string, std::string, std::string>, double>;
Margins read_margins(const std::filesystem::path& scores);

/// Labels with a reason to look at them, the most telling first (ties in the order of the run); with `all`
/// the others after them. Pairs of two equal answers are left out. Worth: conflict 3 (both principles clear,
/// P outside of 0.4 to 0.6), the reward model on the other side 3, order 2, margin below 0.1 up to 2, a
/// contrast in the wrong direction 1, no label 0.5.
std::vector<ReviewItem> review_queue(const Constitution& constitution, const std::vector<Json>& labels,
                                     const Margins& margins, bool all);

/// The decision record of a verdict: "a", "b", "equal", "skip", or "edit" with `edited`, an answer of the
/// person's own. Throws InputError for another, and for an edit that is empty or one of the two answers.
Json decision_on(const Json& label, const std::string& verdict, const std::string& edited = "");

}  // namespace cai
