// Drawing tokens where the logits are.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "cai/engine/speaking_model.hpp"

namespace cai {

/// Draws from the first drawings.size() rows of logits [rows, vocabulary] float32, as sample() does: the same
/// uniform draw against the same distribution, with sums in other orders. No more than the results leave the
/// device.
void draw_on_device(const at::Tensor& logits, std::span<const Drawing> drawings, std::span<Sampled> drawn);

}  // namespace cai
