// Layers whose activations are made again in the backward pass instead of kept (Chen et al. 2016).
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace cai {

/// step(x), of which only x is kept: the backward pass runs `step` again. What else `step` takes are leaves,
/// whose gradients a backward pass adds to; `learns`: whether any of them does.
at::Tensor recomputed(const std::function<at::Tensor(const at::Tensor&)>& step, const at::Tensor& x,
                      bool learns);

}  // namespace cai
