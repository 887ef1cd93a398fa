// A layer of the training forward step by step: of any model that the config can describe, in float32 or in
// bfloat16, where layer.hpp has one of plain Llama's shape.
#pragma once

#include <ATen/core/Tensor.h>

#include "cai/model/layer.hpp"
#include "cai/model/llama.hpp"

namespace cai {

/// The states [rows, width] float32 after `layer`, differentiable in x and in the layer's weights.
at::Tensor any_layer(const Llama& model, const LlamaLayer& layer, const at::Tensor& x,
                     const RowPositions& positions);

}  // namespace cai
