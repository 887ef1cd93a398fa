// Products with a layer's matrices, of a model in float32 or in bfloat16, a differentiable step each.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "cai/model/layer.hpp"
#include "cai/model/low_rank.hpp"

namespace cai {

struct Llama;

/// x W^T for each of the weights [out_i, in], side by side: [n, sum of out_i] float32. x: [n, in] float32.
/// With `rounded` both sides and the result are rounded to bfloat16; the weights are leaves then, and a
/// backward pass adds to the gradients of those that learn at once. Without it they are float32.
at::Tensor linear(const at::Tensor& x, const std::vector<at::Tensor>& weights,
                  const std::shared_ptr<RoundedWeights>& rounded);

/// The same with weights of `model`, in bfloat16 where it takes its products so, plus what the low-rank
/// matrices add: `low_ranks` has one for each weight, or none at all. Their products are rounded as the
/// weights' are. Differentiable in x and in what learns.
at::Tensor linear(const Llama& model, const at::Tensor& x, const std::vector<at::Tensor>& weights,
                  const std::vector<LowRank>& low_ranks = {});

/// Adds to the gradients of weights that lie one below the other, those that learn, slopes^T x, both [n, ...]
/// bfloat16 of half_rows().
void learn_products(const std::vector<at::Tensor>& weights, const at::Tensor& slopes, const at::Tensor& x);

}  // namespace cai
