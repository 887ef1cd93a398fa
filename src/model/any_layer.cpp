#include "cai/model/any_layer.hpp"

#include <ATen/ATen.h>

#include "cai/model/fused.hpp"
#include "cai/model/linear.hpp"

namespace cai {
namespace {

std::shared_ptr<RoundedWeights> rounded_of(const Llama& model) {
  return model.bfloat16 ? model.rounded : nullptr;
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
                     const RowPositions& positions) {
  const ModelConfig& c = model.config;
  const at::Tensor products = linear(y, {l.q, l.k, l.v}, rounded_of(model));
  const at::Tensor q = heads_of(c, products, 0, c.heads, l.q_bias, l.q_norm, &positions),
                   k = heads_of(c, products, c.heads, c.kv_heads, l.k_bias, l.k_norm, &positions),
                   v = heads_of(c, products, c.heads + c.kv_heads, c.kv_heads, l.v_bias, {}, nullptr);
  const at::Tensor projected =
      linear(packed_attention(q, k, v, positions.layout, positions.rule), {l.o}, rounded_of(model));
  return l.o_bias.defined() ? projected + l.o_bias : projected;
}

at::Tensor feed_forward(const Llama& model, const LlamaLayer& l, const at::Tensor& y) {
  const std::int64_t ffn = model.config.ffn_width;
  const at::Tensor both = linear(y, {l.gate, l.up}, rounded_of(model)), gate = both.narrow(1, 0, ffn),
                   up = both.narrow(1, ffn, ffn);
  return linear((model.config.gelu ? at::gelu(gate, "tanh") : at::silu(gate)) * up, {l.down},
                rounded_of(model));
}

}  // namespace

at::Tensor any_layer(const Llama& model, const LlamaLayer& l, const at::Tensor& hidden,
                     const RowPositions& positions) {
  const ModelConfig& c = model.config;
  const at::Tensor x = added(c, hidden, attention(model, l, taken(c, hidden, l.attention_norm), positions),
                             l.attention_post_norm);
  return added(c, x, feed_forward(model, l, taken(c, x, l.ffn_norm)), l.ffn_post_norm);
}

}  // namespace cai
