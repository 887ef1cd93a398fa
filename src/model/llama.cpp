#include "cai/model/llama.hpp"

#include <ATen/ATen.h>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"
#include "cai/model/fused.hpp"

namespace cai {
namespace {

// One sequence. q: [heads, n, d]; k, v: [kv_heads, n, d].
at::Tensor attend_causally(const ModelConfig& c, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto group = c.heads / c.kv_heads;
  const at::Tensor keys = group == 1 ? k : k.repeat_interleave(group, 0), values = group == 1 ? v : v.repeat_interleave(group, 0);
  const auto n = q.size(1);
  if (c.sliding_window == 0 || n <= c.sliding_window)
    return at::scaled_dot_product_attention(q.unsqueeze(0), keys.unsqueeze(0), values.unsqueeze(0), {}, 0.0, true).squeeze(0);
  const at::Tensor row = at::arange(n).unsqueeze(1), column = at::arange(n).unsqueeze(0);
  const at::Tensor seen = column.le(row).logical_and(column.gt(row - c.sliding_window));
  return at::scaled_dot_product_attention(q.unsqueeze(0), keys.unsqueeze(0), values.unsqueeze(0), seen).squeeze(0);
}

struct QueryKeyValue { at::Tensor q, k, v; };  // [n, heads or kv_heads, head_width]

QueryKeyValue query_key_value(const Llama& model, const LlamaLayer& l, const at::Tensor& y) {
  const ModelConfig& c = model.config;
  const auto n = y.size(0);
  at::Tensor q, k, v;
  if (model.bfloat16) {
    const std::vector<at::Tensor> parts = products(y, {l.q, l.k, l.v}, *model.rounded).split_with_sizes({l.q.size(0), l.k.size(0), l.v.size(0)}, 1);
    q = parts[0], k = parts[1], v = parts[2];
  } else {
    q = at::linear(y, l.q), k = at::linear(y, l.k), v = at::linear(y, l.v);
  }
  if (l.q_bias.defined()) q = q + l.q_bias, k = k + l.k_bias, v = v + l.v_bias;
  return {q.reshape({n, c.heads, c.head_width}), k.reshape({n, c.kv_heads, c.head_width}), v.reshape({n, c.kv_heads, c.head_width})};
}

at::Tensor feed_forward(const Llama& model, const LlamaLayer& l, const at::Tensor& y) {
  if (model.bfloat16) return swiglu(y, l.gate, l.up, l.down, *model.rounded);
  return at::linear(at::silu(at::linear(y, l.gate)) * at::linear(y, l.up), l.down);
}

}  // namespace

std::vector<std::pair<std::string, at::Tensor>> Llama::named_weights() const {
  std::vector<std::pair<std::string, at::Tensor>> all{{"model.embed_tokens.weight", embedding}};
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LlamaLayer& l = layers[i];
    const std::string at = "model.layers." + std::to_string(i) + ".";
    const std::pair<const char*, const at::Tensor*> named[] = {
        {"input_layernorm.weight", &l.attention_norm}, {"self_attn.q_proj.weight", &l.q}, {"self_attn.k_proj.weight", &l.k},
        {"self_attn.v_proj.weight", &l.v}, {"self_attn.q_proj.bias", &l.q_bias}, {"self_attn.k_proj.bias", &l.k_bias},
        {"self_attn.v_proj.bias", &l.v_bias}, {"self_attn.o_proj.bias", &l.o_bias}, {"self_attn.q_norm.weight", &l.q_norm},
        {"self_attn.k_norm.weight", &l.k_norm}, {"self_attn.o_proj.weight", &l.o}, {"post_attention_layernorm.weight", &l.ffn_norm},
        {"mlp.gate_proj.weight", &l.gate}, {"mlp.up_proj.weight", &l.up}, {"mlp.down_proj.weight", &l.down}};
    for (const auto& [name, tensor] : named)
      if (tensor->defined()) all.emplace_back(at + name, *tensor);
  }
  all.emplace_back("model.norm.weight", norm);
  if (!config.tied_head) all.emplace_back("lm_head.weight", head);
  return all;
}

Llama Llama::clone() const {
  Llama copy = *this;
  copy.rounded = std::make_shared<RoundedWeights>();
  const auto own = [](at::Tensor& t) {
    if (t.defined()) t = t.detach().clone();
  };
  own(copy.embedding), own(copy.norm);
  copy.head = config.tied_head ? copy.embedding : head.detach().clone();
  for (LlamaLayer& l : copy.layers)
    for (at::Tensor* t : {&l.attention_norm, &l.q, &l.k, &l.v, &l.q_bias, &l.k_bias, &l.v_bias, &l.o_bias, &l.q_norm, &l.k_norm, &l.o, &l.ffn_norm,
                          &l.gate, &l.up, &l.down})
      own(*t);
  return copy;
}

Packed pack(const std::vector<std::vector<int>>& sequences) {
  Packed p;
  p.offsets.push_back(0);
  for (const auto& s : sequences) p.offsets.push_back(p.offsets.back() + static_cast<std::int64_t>(s.size()));
  p.tokens = at::empty({p.offsets.back()}, at::kLong);
  p.positions = at::empty({p.offsets.back()}, at::kLong);
  auto* t = p.tokens.data_ptr<std::int64_t>();
  auto* q = p.positions.data_ptr<std::int64_t>();
  for (const auto& s : sequences)
    for (std::size_t i = 0; i < s.size(); ++i) *t++ = s[i], *q++ = static_cast<std::int64_t>(i);
  return p;
}

at::Tensor rotary_frequencies(const ModelConfig& c) {
  at::Tensor f = 1.0 / at::pow(c.rope_base, at::arange(0, c.head_width, 2, at::kLong).to(at::kFloat) / static_cast<double>(c.head_width));
  if (c.rope_scaling.factor == 1) return f;
  const RopeScaling& s = c.rope_scaling;
  const double low = static_cast<double>(s.original_context) / s.low_frequency_factor, high = static_cast<double>(s.original_context) / s.high_frequency_factor;
  const at::Tensor wave = 2 * M_PI / f;
  const at::Tensor smooth = (static_cast<double>(s.original_context) / wave - s.low_frequency_factor) / (s.high_frequency_factor - s.low_frequency_factor);
  const at::Tensor between = (1 - smooth) * f / s.factor + smooth * f;
  const at::Tensor slow = at::where(wave.gt(low), f / s.factor, f);
  return at::where(wave.lt(high).logical_or(wave.gt(low)), slow, between);
}

at::Tensor run_layers(const Llama& model, const at::Tensor& hidden, const Packed& packed, std::int64_t first_layer, std::int64_t last_layer) {
  const ModelConfig& c = model.config;
  at::Tensor x = hidden;
  const at::Tensor angles = packed.positions.to(at::kFloat).unsqueeze(1) * rotary_frequencies(c).unsqueeze(0);
  const at::Tensor cosines = angles.cos(), sines = angles.sin();  // [n, head_width / 2]
  for (auto i = first_layer; i < last_layer; ++i) {
    const LlamaLayer& l = model.layers[static_cast<std::size_t>(i)];
    const at::Tensor y = rms_norm(x, l.attention_norm, c.norm_epsilon);
    auto [q, k, v] = query_key_value(model, l, y);
    if (c.qk_norm) q = rms_norm(q, l.q_norm, c.norm_epsilon), k = rms_norm(k, l.k_norm, c.norm_epsilon);
    q = rotate(q, cosines, sines), k = rotate(k, cosines, sines);
    std::vector<at::Tensor> parts;
    for (std::size_t s = 0; s + 1 < packed.offsets.size(); ++s) {
      const auto from = packed.offsets[s], length = packed.offsets[s + 1] - from;
      auto part = [&, from = from, length = length](const at::Tensor& t) { return t.narrow(0, from, length).transpose(0, 1); };
      parts.push_back(attend_causally(c, part(q), part(k), part(v)).transpose(0, 1).reshape({length, c.heads * c.head_width}));
    }
    const at::Tensor mixed = at::cat(parts, 0);
    const at::Tensor projected = model.bfloat16 ? products(mixed, {l.o}, *model.rounded) : at::linear(mixed, l.o);
    x = x + (l.o_bias.defined() ? projected + l.o_bias : projected);
    x = x + feed_forward(model, l, rms_norm(x, l.ffn_norm, c.norm_epsilon));
  }
  return x;
}

at::Tensor embed(const Llama& model, const at::Tensor& tokens) { return at::embedding(model.embedding, tokens); }

at::Tensor final_norm(const Llama& model, const at::Tensor& hidden) { return rms_norm(hidden, model.norm, model.config.norm_epsilon); }

at::Tensor logits(const Llama& model, const Packed& packed) {
  return at::linear(final_norm(model, run_layers(model, embed(model, packed.tokens), packed, 0, model.config.layers)), model.head);
}

Llama random_llama(const ModelConfig& c, std::uint64_t seed) {
  const Random random(seed);
  std::uint64_t count = 0;
  auto normal = [&](std::vector<std::int64_t> shape) {
    at::Tensor t = at::empty(shape, at::kFloat);
    Random r = random.derive(count++);
    for (std::int64_t i = 0; i < t.numel(); ++i) t.data_ptr<float>()[i] = static_cast<float>(0.02 * r.normal());
    return t;
  };
  Llama m;
  m.config = c;
  m.embedding = normal({c.vocabulary, c.width});
  for (std::int64_t i = 0; i < c.layers; ++i) {
    LlamaLayer l;
    l.attention_norm = at::ones({c.width}), l.ffn_norm = at::ones({c.width});
    l.q = normal({c.heads * c.head_width, c.width}), l.k = normal({c.kv_heads * c.head_width, c.width}), l.v = normal({c.kv_heads * c.head_width, c.width});
    if (c.qkv_bias) l.q_bias = normal({c.heads * c.head_width}), l.k_bias = normal({c.kv_heads * c.head_width}), l.v_bias = normal({c.kv_heads * c.head_width});
    if (c.output_bias) l.o_bias = normal({c.width});
    if (c.qk_norm) l.q_norm = at::ones({c.head_width}), l.k_norm = at::ones({c.head_width});
    l.o = normal({c.width, c.heads * c.head_width});
    l.gate = normal({c.ffn_width, c.width}), l.up = normal({c.ffn_width, c.width}), l.down = normal({c.width, c.ffn_width});
    m.layers.push_back(l);
  }
  m.norm = at::ones({c.width});
  m.head = c.tied_head ? m.embedding : normal({c.vocabulary, c.width});
  return m;
}

}  // namespace cai
