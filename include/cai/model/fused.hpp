// Steps of the training forward that ATen would take in many passes over memory, in one, with their
// gradients.
#pragma once

#include <ATen/core/Tensor.h>

namespace cai {

/// weight [vocabulary, width] float32 by rows `tokens` [n] int64: [n, width]. The weight is a leaf, and a
/// backward pass adds to its gradient only what these rows get.
at::Tensor embed_rows(const at::Tensor& weight, const at::Tensor& tokens);

/// x / rms(x) * weight along the last dimension (Zhang & Sennrich 2019). x: [..., width] float32, weight:
/// [width]. Differentiable in both.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

/// Rotary embedding, half-split (Su et al. 2021; HF's layout). x: [n, heads, width] float32; cosines, sines:
/// [n, half], of as many leading pairs of dimensions; others stay. Differentiable in x.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cosines, const at::Tensor& sines);

}  // namespace cai
