#include "cai/model/any_layer.hpp"

#include <ATen/ATen.h>

#include <initializer_list>
#include <vector>

#include "cai/model/fused.hpp"
#include "cai/model/linear.hpp"

namespace cai {
namespace {

// What the layer's adapter adds to the products of some of its matrices.
std::vector<LowRank> added_to(const LlamaLayer& l, std::initializer_list<LowRank LayerAdapter::*> matrices) {
  std::vector<LowRank> low_ranks;
  if (!l.adapter) return low_ranks;
  for (LowRank LayerAdapter::*const matrix : matrices)
    low_ranks.push_back((*l.adapter).*matrix);
  return low_ranks;
}

// x + what a half of the layer makes of it.
at::Tensor added(const ModelConfig& c, const at::Tensor& x, at::Tensor more, const at::Tensor& norm) {
  if (c.norms_after) more = rms_norm(more, norm, c.norm_epsilon);
  return c.residual_scale != 1 ? x + more * c.residual_scale : x + more;
}

at::Tensor taken(const ModelConfig& c, const at::Tensor& x, const at::Tensor& norm) {
  return c.norms_before ? rms_norm(x, norm, c.norm_epsilon) : x;
}

// One of q, k and v of the products: [n, heads, head_width], with its bias and norm, rotated.
at::Tensor heads_of(const ModelConfig& c, const at::Tensor& products, std::int64_t from, std::int64_t heads,
                    const at::Tensor& bias, const at::Tensor& norm, const RowPositions* turn) {
  const std::int64_t n = products.size(0);
  at::Tensor x = products.narrow(1, from * c.head_width, heads * c.head_width);
  if (bias.defined()) x = x + bias;
  if (norm.defined() && c.qk_norm_is_whole) x = rms_norm(x, norm, c.norm_epsilon);
  x = x.reshape({n, heads, c.head_width});
  if (norm.defined() && !c.qk_norm_is_whole) x = rms_norm(x, norm, c.norm_epsilon);
  return turn && turn->cosines.defined() ? rotate(x, turn->cosines, turn->sines) : x;
}

at::Tensor attention(const Llama& model, const LlamaLayer& l, const at::Tensor& y,
                     const RowPositions& positions, const AttentionStep& attend) {
  const ModelConfig& c = model.config;
  using A = LayerAdapter;
  const at::Tensor products = linear(model, y, {l.q, l.k, l.v}, added_to(l, {&A::q, &A::k, &A::v}));
  const at::Tensor q = heads_of(c, products, 0, c.heads, l.q_bias, l.q_norm, &positions),
                   k = heads_of(c, products, c.heads, c.kv_heads, l.k_bias, l.k_norm, &positions),
                   v = heads_of(c, products, c.heads + c.kv_heads, c.kv_heads, l.v_bias, {}, nullptr);
  const at::Tensor projected = linear(model, attend(q, k, v), {l.o}, added_to(l, {&A::o}));
  return l.o_bias.defined() ? projected + l.o_bias : projected;
}

at::Tensor feed_forward(const Llama& model, const LlamaLayer& l, const at::Tensor& y) {
  const std::int64_t ffn = model.config.ffn_width;
  using A = LayerAdapter;
  const at::Tensor both = linear(model, y, {l.gate, l.up}, added_to(l, {&A::gate, &A::up}));
  const at::Tensor gate = both.narrow(1, 0, ffn), up = both.narrow(1, ffn, ffn);
  return linear(model, (model.config.gelu ? at::gelu(gate, "tanh") : at::silu(gate)) * up, {l.down},
                added_to(l, {&A::down}));
}

}  // namespace

at::Tensor any_layer(const Llama& model, const LlamaLayer& l, const at::Tensor& hidden,
                     const RowPositions& positions) {
  return any_layer(model, l, hidden, positions,
                   [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
                     return packed_attention(q, k, v, positions.layout, positions.rule);
                   });
}

at::Tensor any_layer(const Llama& model, const LlamaLayer& l, const at::Tensor& hidden,
                     const RowPositions& positions, const AttentionStep& attend) {
  const ModelConfig& c = model.config;
  const at::Tensor x =
      added(c, hidden, attention(model, l, taken(c, hidden, l.attention_norm), positions, attend),
            l.attention_post_norm);
  return added(c, x, feed_forward(model, l, taken(c, x, l.ffn_norm)), l.ffn_post_norm);
}

}  // namespace cai
