// A Llama trunk with a scalar head on its final normed state.
#pragma once

#include "cai/model/llama.hpp"

namespace cai {

struct RewardModel {
  Llama trunk;
  at::Tensor score;          // [1, width] float32; N(0, 1 / sqrt(width + 1)) at the start (Huang et al. 2024)
  double mean = 0, std = 1;  // normalisation measured on policy samples; reward = (raw - mean) / std
};

}  // namespace cai
