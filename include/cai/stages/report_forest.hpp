// A forest plot: differences with their 95 % intervals, one measure below the other.
#pragma once

#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

struct ForestRow {
  std::string title;   // plain text, as the others here
  std::string before;  // the first model's value: "base: 83 % of 12 prompts"
  int direction = 0;   // 1: more is better, -1: less is better, 0: neither

  struct Lane {
    std::string name;  // "rl-cai: 25 %"
    Json difference;   // a share's change: {value, low, high, holm_p, ...}
  };
  std::vector<Lane> lanes;
};

/// As markup; "" without rows. All rows share one axis, symmetric about 0, in percentage points.
std::string forest_plot(const std::vector<ForestRow>& rows);

/// The rows of eval's figures: the shares that tell whether a model is better, then each principle with a
/// check.
std::vector<ForestRow> forest_rows(const Json& eval);

}  // namespace cai
