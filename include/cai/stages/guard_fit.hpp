// One head of a guard: logistic regression on the window of each text where the head's score is highest.
#pragma once

#include <string>
#include <vector>

#include "cai/feedback/guard.hpp"

namespace cai {

/// A text as a head learns from it.
struct HeadExample {
  const std::vector<float>* windows;  // [windows, width], one at least
  int right;                          // 0 or 1
};

/// Learns from the mean of each text's windows first, then twice from the window on which the head of before
/// scores highest (MI-SVM, Andrews et al. 2002). States are standardised for the L2 penalty and the head put
/// back to the states as they are. Both classes must be there.
GuardHead fit_head(const std::string& name, const std::vector<HeadExample>& examples, std::size_t width);

}  // namespace cai
