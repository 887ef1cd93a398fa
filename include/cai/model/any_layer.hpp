// A layer of the training forward step by step: of any model that the config can describe, in float32 or in
// bfloat16, where layer.hpp has one of plain Llama's shape.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "cai/model/layer.hpp"
#include "cai/model/llama.hpp"

namespace cai {

/// The states [rows, width] float32 after `layer`, differentiable in x and in the layer's weights.
at::Tensor any_layer(const Llama& model, const LlamaLayer& layer, const at::Tensor& x,
                     const RowPositions& positions);

/// The same with other attention: `attend` takes q [rows, heads, head_width] and k, v [rows, kv_heads,
/// head_width], rotated, and gives [rows, heads * head_width].
using AttentionStep =
    std::function<at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v)>;
at::Tensor any_layer(const Llama& model, const LlamaLayer& layer, const at::Tensor& x,
                     const RowPositions& positions, const AttentionStep& attend);

}  // namespace cai
