// A layer of the training forward with its products in bfloat16: both sides of each product, backward too,
// are rounded to bfloat16, and its result as well; weights stay float32 masters, and so do what is added to
// them and the states between the layers (Micikevicius et al. 2018, with bfloat16 for float16). Its two
// halves are one differentiable step each: what stands between their products is made row by row, and made
// again in the backward pass where keeping it would cost memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "cai/model/attention.hpp"
#include "cai/model/config.hpp"

namespace cai {

struct LayerAdapter;

/// The matrices are float32, or bfloat16 where round_matrices made them so.
struct LlamaLayer {
  at::Tensor attention_norm;                  // [width]; undefined unless norms_before
  at::Tensor q, k, v;                         // [heads * head_width | kv_heads * head_width, width]
  at::Tensor q_bias, k_bias, v_bias, o_bias;  // undefined unless the model has them
  at::Tensor q_norm, k_norm;                  // [head_width | as q and k have rows]; undefined unless qk_norm
  at::Tensor o;                               // [width, heads * head_width]
  at::Tensor attention_post_norm;             // [width]; undefined unless norms_after
  at::Tensor ffn_norm;                        // [width]; undefined unless norms_before
  at::Tensor gate, up, down;                  // [ffn, width], [ffn, width], [width, ffn]
  at::Tensor ffn_post_norm;                   // [width]; undefined unless norms_after
  std::shared_ptr<const LayerAdapter> adapter;  // what is added to the products; nullptr: nothing
};

/// What attention in a layer goes by: the angles of the rows' positions and which rows see which.
struct RowPositions {
  at::Tensor cosines, sines;  // [rows, rotary() / 2] float32; undefined where the layer does not rotate
  std::shared_ptr<const AttentionLayout> layout;
  AttentionRule rule;
};

/// Whether add_attention and add_feed_forward do layers of this shape: plain Llama's. any_layer.hpp does all.
bool has_half_layers(const ModelConfig& config);

/// bfloat16 copies of weights, kept until a weight has changed. A copy takes half as much memory as the
/// weight; made for each product instead, those of weights that learn took a tenth of the time of training.
class RoundedWeights {
 public:
  /// The weights [out_i, in] float32 one below the other, [sum of out_i, in] bfloat16, up to date until the
  /// next step of an optimiser. Those that round_matrices made are given as they are.
  at::Tensor of(const std::vector<at::Tensor>& weights);

 private:
  struct Copy {
    std::vector<c10::weak_intrusive_ptr<c10::TensorImpl>> weights;
    std::vector<std::int64_t> versions;
    at::Tensor rounded;
  };
  std::unordered_map<const c10::TensorImpl*, Copy> copies_;  // by the first weight
};

/// The matrices of a layer that never learns again and whose products are taken in bfloat16 become their
/// bfloat16 copies: 2 bytes a weight instead of 6, the same products. Biases and norms stay float32.
void round_matrices(LlamaLayer& layer);

/// x + o attention(norm(x)), x: [rows, width] float32. Differentiable in x; the layer's weights are leaves,
/// and a backward pass adds to the gradients of those that learn at once (torch::autograd::grad does not see
/// them). Keeps x, the products of q, k and v in bfloat16 and what attention gave.
at::Tensor add_attention(const at::Tensor& x, const LlamaLayer& layer, const ModelConfig& config,
                         const RowPositions& positions, const std::shared_ptr<RoundedWeights>& rounded);

/// x + down (silu(gate norm(x)) * (up norm(x))) (Shazeer 2020). Gradients as in add_attention. Keeps x and
/// the products of gate and up in bfloat16.
at::Tensor add_feed_forward(const at::Tensor& x, const LlamaLayer& layer, const ModelConfig& config,
                            const std::shared_ptr<RoundedWeights>& rounded);

}  // namespace cai
