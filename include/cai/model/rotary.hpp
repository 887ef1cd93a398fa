// Rotary frequencies (Su et al. 2021) and the ways in which they are stretched.
#pragma once

#include <ATen/core/Tensor.h>

#include "cai/model/config.hpp"

namespace cai {

struct RotaryFrequencies {
  at::Tensor frequencies;  // [rotary() / 2] float32: the angle per position of each rotary pair; undefined
                           // where a layer does not rotate
  double scale = 1;        // of cosines and sines
};

/// Of a layer: those of windowed layers may have a base of their own. Scalings: "linear" (Chen et al. 2023),
/// "llama3" (Llama 3.1's model card), "yarn" (Peng et al. 2023), "longrope" (Ding et al. 2024), all as
/// transformers takes them. "dynamic" changes nothing up to the model's context, which is as far as we read.
RotaryFrequencies rotary_frequencies(const ModelConfig& config, std::int64_t layer = 0);

/// Cosines and sines of positions [n] int64: [n, rotary() / 2] float32 each; both undefined where the layer
/// does not rotate.
struct Rotation {
  at::Tensor cosines, sines;
};
Rotation rotation_of(const RotaryFrequencies& frequencies, const at::Tensor& positions);

}  // namespace cai
