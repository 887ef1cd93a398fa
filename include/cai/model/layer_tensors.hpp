// The tensors of a layer, listed once: whatever names, reads, copies, compares or writes them goes by this
// list.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "cai/model/layer.hpp"

namespace cai {

/// A tensor that each layer of a model has.
struct LayerTensor {
  at::Tensor LlamaLayer::*tensor;
  const char* hf;    // its name within the layer in HF files ("self_attn.q_proj.weight")
  const char* gguf;  // and in GGUF files ("attn_q.weight")
  std::vector<std::int64_t> shape;
};

/// Those of a layer of this model, in the order in which named_weights() has them.
std::vector<LayerTensor> layer_tensors(const ModelConfig& config);

/// A tensor that files of a model with fused_weights hold in place of several, which lie in it one below the
/// other.
struct FusedTensor {
  const char *hf, *gguf;
  std::vector<LayerTensor> parts;
};
std::vector<FusedTensor> fused_tensors(const ModelConfig& config);  ///< none without fused_weights

/// Whether a tensor of this name, HF's or GGUF's, is the weight of a norm.
bool is_norm(std::string_view name);

/// Calls body(tensor) for each tensor that a layer of any model has, those that this one does not have
/// (undefined) included.
template <class Layer, class Body>
void for_each_tensor(Layer& layer, const Body& body) {
  for (at::Tensor LlamaLayer::*const tensor :
       {&LlamaLayer::attention_norm, &LlamaLayer::q, &LlamaLayer::k, &LlamaLayer::v, &LlamaLayer::q_bias,
        &LlamaLayer::k_bias, &LlamaLayer::v_bias, &LlamaLayer::o_bias, &LlamaLayer::q_norm,
        &LlamaLayer::k_norm, &LlamaLayer::o, &LlamaLayer::attention_post_norm, &LlamaLayer::ffn_norm,
        &LlamaLayer::gate, &LlamaLayer::up, &LlamaLayer::down, &LlamaLayer::ffn_post_norm})
    body(layer.*tensor);
}

/// Whether two layers have the same tensors with the same values, and the same adapter or none.
bool is_same(const LlamaLayer& a, const LlamaLayer& b);

}  // namespace cai
