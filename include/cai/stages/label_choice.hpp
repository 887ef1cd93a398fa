// The label of a pair from a judge's verdicts under several principles.
#pragma once

#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/stages/compare.hpp"
#include "cai/stages/label_check.hpp"
#include "cai/stages/pairs.hpp"

namespace cai {

/// The record of one pair; verdicts[k] was given under principles[k], `checks` are the views of the
/// principles with a check. Its reason argues for the answer that the label prefers.
Json choice_label(const LabelConfig& config, const Pair& pair,
                  const std::vector<const Principle*>& principles, const std::vector<Verdict>& verdicts,
                  const CheckViews& checks);

}  // namespace cai
