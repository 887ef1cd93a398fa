#include "cai/model/layer_tensors.hpp"

#include <ATen/ATen.h>

#include <cstddef>

namespace cai {

std::vector<LayerTensor> layer_tensors(const ModelConfig& c) {
  const std::int64_t q = c.heads * c.head_width, kv = c.kv_heads * c.head_width;
  std::vector<LayerTensor> all;
  const auto add = [&](bool has, at::Tensor LlamaLayer::*tensor, const char* hf, const char* gguf,
                       std::vector<std::int64_t> shape) {
    if (has) all.push_back({tensor, hf, gguf, std::move(shape)});
  };
  add(c.norms_before, &LlamaLayer::attention_norm, "input_layernorm.weight", "attn_norm.weight", {c.width});
  add(true, &LlamaLayer::q, "self_attn.q_proj.weight", "attn_q.weight", {q, c.width});
  add(true, &LlamaLayer::k, "self_attn.k_proj.weight", "attn_k.weight", {kv, c.width});
  add(true, &LlamaLayer::v, "self_attn.v_proj.weight", "attn_v.weight", {kv, c.width});
  add(c.qkv_bias, &LlamaLayer::q_bias, "self_attn.q_proj.bias", "attn_q.bias", {q});
  add(c.qkv_bias, &LlamaLayer::k_bias, "self_attn.k_proj.bias", "attn_k.bias", {kv});
  add(c.qkv_bias, &LlamaLayer::v_bias, "self_attn.v_proj.bias", "attn_v.bias", {kv});
  add(c.output_bias, &LlamaLayer::o_bias, "self_attn.o_proj.bias", "attn_output.bias", {c.width});
  add(c.qk_norm, &LlamaLayer::q_norm, "self_attn.q_norm.weight", "attn_q_norm.weight",
      {c.qk_norm_is_whole ? q : c.head_width});
  add(c.qk_norm, &LlamaLayer::k_norm, "self_attn.k_norm.weight", "attn_k_norm.weight",
      {c.qk_norm_is_whole ? kv : c.head_width});
  add(true, &LlamaLayer::o, "self_attn.o_proj.weight", "attn_output.weight", {c.width, q});
  add(c.norms_after, &LlamaLayer::attention_post_norm, "post_attention_layernorm.weight",
      "post_attention_norm.weight", {c.width});
  add(c.norms_before, &LlamaLayer::ffn_norm,
      c.norms_after ? "pre_feedforward_layernorm.weight" : "post_attention_layernorm.weight",
      "ffn_norm.weight", {c.width});
  add(true, &LlamaLayer::gate, "mlp.gate_proj.weight", "ffn_gate.weight", {c.ffn_width, c.width});
  add(true, &LlamaLayer::up, "mlp.up_proj.weight", "ffn_up.weight", {c.ffn_width, c.width});
  add(true, &LlamaLayer::down, "mlp.down_proj.weight", "ffn_down.weight", {c.width, c.ffn_width});
  add(c.norms_after, &LlamaLayer::ffn_post_norm, "post_feedforward_layernorm.weight", "post_ffw_norm.weight",
      {c.width});
  return all;
}

std::vector<FusedTensor> fused_tensors(const ModelConfig& c) {
  if (!c.fused_weights) return {};
  FusedTensor qkv{"self_attn.qkv_proj.weight", "attn_qkv.weight", {}},
      gate_up{"mlp.gate_up_proj.weight", "ffn_up.weight", {}};
  for (const LayerTensor& t : layer_tensors(c)) {
    if (t.tensor == &LlamaLayer::q || t.tensor == &LlamaLayer::k || t.tensor == &LlamaLayer::v)
      qkv.parts.push_back(t);
    if (t.tensor == &LlamaLayer::gate || t.tensor == &LlamaLayer::up) gate_up.parts.push_back(t);
  }
  return {qkv, gate_up};
}

bool is_norm(std::string_view name) {
  return name.ends_with("norm.weight");
}

bool is_same(const LlamaLayer& a, const LlamaLayer& b) {
  if (a.adapter != b.adapter) return false;
  std::vector<const at::Tensor*> others;
  for_each_tensor(b, [&](const at::Tensor& t) { others.push_back(&t); });
  std::size_t i = 0;
  bool same = true;
  for_each_tensor(a, [&](const at::Tensor& x) {
    const at::Tensor& y = *others[i++];
    same = same && x.defined() == y.defined() &&
           (!x.defined() || x.is_same(y) ||
            (x.sizes() == y.sizes() && at::equal(x.to(at::kFloat), y.to(at::kFloat))));
  });
  return same;
}

}  // namespace cai
