// The one product of the training forward, in float32 or in bfloat16.
#pragma once

#include <ATen/core/Tensor.h>

namespace cai {

/// x [n, in] times weight [out, in] transposed, plus bias [out] where it is defined; all float32, differentiable. Returns [n, out] float32.
/// `bfloat16`: both sides of each product, backward too, are rounded to bfloat16 and its result as well; weights stay float32 masters
/// and what is added to them is float32 (Micikevicius et al. 2018, with bfloat16 for float16).
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, bool bfloat16);

}  // namespace cai
