// Training curves as SVG.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace cai {

struct Curve {
  std::string title, unit;    // "KL to the reference", "nats a sequence"
  std::string step = "step";  // what the x axis counts
  std::vector<std::pair<std::string, std::vector<double>>> series;  // name -> one value a step
};

/// A figure with axes, one line a series (a thin line of the values and a moving mean where there are many)
/// and a legend where there is more than one; "" where no series has two values.
std::string curve_figure(const Curve& curve);

}  // namespace cai
