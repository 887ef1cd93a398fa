// Drawing a token from a row of logits.
#pragma once

#include <span>

#include "cai/base/random.hpp"

namespace cai {

struct Sampled {
  int token = 0;
  float log_probability = 0;  // at temperature 1 and over the whole vocabulary, natural log
};

/// temperature 0: the highest logit, the lowest id among equals; no draw is taken. Else one draw of
/// random.uniform() against the cumulative probabilities of logits / temperature, in id order; top_p < 1
/// keeps the smallest set of likeliest tokens whose probability reaches top_p (Holtzman et al. 2020).
Sampled sample(std::span<const float> logits, double temperature, double top_p, Random& random);

}  // namespace cai
