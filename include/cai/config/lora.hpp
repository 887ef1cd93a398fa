// The settings of an adapter (model/adapter.hpp).
#pragma once

#include <string>

namespace cai {

struct LoraConfig {
  long rank = 0;                // 0: no adapter, the weights themselves learn
  double alpha = 0;             // what they add is scaled by alpha / rank; 0: 2 rank
  long layers = 0;              // top layers that get one; 0: all
  std::string targets = "all";  // all | attention | mlp: the matrices of a layer
};

}  // namespace cai
