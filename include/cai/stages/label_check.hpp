// What principles with a check say of a pair of answers: a program decides, no judge is asked.
#pragma once

#include <string>
#include <vector>

#include "cai/data/constitution.hpp"
#include "cai/data/preference.hpp"
#include "cai/stages/pairs.hpp"

namespace cai {

/// One view for each principle with a check that applies to the pair's request.
struct CheckViews {
  std::vector<View> views;                      // log-odds that a is better; 0 where both follow it alike
  std::vector<std::string> broken_a, broken_b;  // beside them: what each answer breaks, "" where it follows

  std::string fault_a, fault_b;  // why an answer is none (answer_fault), or ""

  /// Whether any principle tells the answers apart.
  bool decide() const;
  /// Why answer `better` ("A" or "B") is better under a principle.
  std::string reason(const Principle& principle, bool a_is_better) const;
};

/// Applies the checks. A text that is no answer to the request (answer_fault) follows none.
CheckViews check_views(const Constitution& constitution, const Pair& pair);

/// The label record where checks alone decide.
Json check_label(const CheckViews& checks, const Pair& pair);

}  // namespace cai
