// Products of the training forward in bfloat16: both sides of each product, backward too, are rounded to bfloat16, and its result as
// well; weights stay float32 masters and what is added to them is float32 (Micikevicius et al. 2018, with bfloat16 for float16).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace cai {

/// bfloat16 copies of weights, made again when a weight has changed: a step uses each of them once a micro-batch, a frozen one for ever.
class RoundedWeights {
 public:
  /// The weights [out_i, in] float32 one below the other, [sum of out_i, in] bfloat16.
  at::Tensor of(const std::vector<at::Tensor>& weights);

 private:
  struct Copy {
    std::vector<c10::weak_intrusive_ptr<c10::TensorImpl>> weights;
    std::vector<std::int64_t> versions;
    at::Tensor rounded;
  };
  std::unordered_map<const c10::TensorImpl*, Copy> copies_;  // by the first weight
};

/// x [n, in] times each of one to three weights [out_i, in] transposed, side by side: [n, sum of out_i] float32. Differentiable in x; the weights are
/// leaves, and a backward pass adds to the gradients of those that learn at once (torch::autograd::grad does not see them).
at::Tensor products(const at::Tensor& x, const std::vector<at::Tensor>& weights, RoundedWeights& rounded);

/// down (silu(gate x) * (up x)) (Shazeer 2020), x: [n, width] float32, gate and up: [ffn, width], down: [width, ffn]. Returns [n, width]
/// float32. Keeps x and the products of gate and up from forward to backward, all bfloat16, and nothing else of [n, ffn]. Gradients as in products().
at::Tensor swiglu(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& up, const at::Tensor& down, RoundedWeights& rounded);

}  // namespace cai
