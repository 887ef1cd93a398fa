#include "cai/model/llama.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <functional>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"
#include "cai/model/adapter.hpp"
#include "cai/model/any_layer.hpp"
#include "cai/model/fused.hpp"
#include "cai/model/layer_tensors.hpp"
#include "cai/model/low_rank.hpp"
#include "cai/model/recompute.hpp"
#include "cai/model/rotary.hpp"
#include "cai/model/tensors.hpp"
#include "cai/model/varlen.hpp"

namespace cai {
std::vector<std::pair<std::string, at::Tensor>> Llama::named_weights() const {
  std::vector<std::pair<std::string, at::Tensor>> all{{"model.embed_tokens.weight", embedding}};
  const std::vector<LayerTensor> tensors = layer_tensors(config);
  for (std::size_t i = 0; i < layers.size(); ++i)
    for (const LayerTensor& t : tensors)
      all.emplace_back("model.layers." + std::to_string(i) + "." + t.hf, layers[i].*t.tensor);
  all.emplace_back("model.norm.weight", norm);
  if (!config.tied_head) all.emplace_back("lm_head.weight", head);
  return all;
}

void move_towards(const Llama& model, const Llama& to, double share) {
  const at::NoGradGuard no_gradients;
  const auto weights = model.named_weights(), others = to.named_weights();
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (at::Tensor w = weights[i].second; !w.is_same(others[i].second))
      w.lerp_(others[i].second.to(w.scalar_type()), share);
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const auto& adapter = model.layers[i].adapter;
    if (!adapter || adapter == to.layers[i].adapter) continue;
    if (to.layers[i].adapter) throw Bug("two models with adapters of their own have none between them");
    for_each_low_rank(*adapter, [&](const LowRank& low_rank) {
      if (at::Tensor b = low_rank.b; b.defined()) b.mul_(1 - share);
    });
  }
}

void round_matrices(Llama& model, std::int64_t first) {
  if (!model.place.bfloat16) return;
  for (std::int64_t i = first; i < model.config.layers; ++i)
    round_matrices(model.layers[static_cast<std::size_t>(i)]);
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
    for_each_tensor(l, own);
  own_adapter(copy);
  return copy;
}

Packed pack(const std::vector<std::vector<int>>& sequences, const at::Device& device) {
  constexpr std::size_t kLeastShared = 8;  // tokens: a segment less is worth that many
  Packed p;
  std::vector<std::int64_t> tokens, positions;
  p.ends.resize(sequences.size());
  const auto add = [&](std::size_t owner, std::size_t start, std::size_t end, std::int64_t before) {
    p.segments.push_back({static_cast<std::int64_t>(tokens.size()), static_cast<std::int64_t>(end - start),
                          static_cast<std::int64_t>(start), before, owner});
    for (std::size_t t = start; t < end; ++t)
      tokens.push_back(sequences[owner][t]), positions.push_back(static_cast<std::int64_t>(t));
    return static_cast<std::int64_t>(p.segments.size()) - 1;
  };
  // Tokens that two sequences begin with alike, but for the last of either: each keeps one of its own.
  const auto alike = [&](std::size_t a, std::size_t b) {
    const auto &x = sequences[a], &y = sequences[b];
    const std::size_t most = std::min(x.size(), y.size()) - 1;
    return static_cast<std::size_t>(
        std::mismatch(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(most), y.begin()).first - x.begin());
  };
  // Lays out the sequences [from, to), which have their first `start` tokens in common in the segments up to
  // `before`.
  const std::function<void(std::size_t, std::size_t, std::size_t, std::int64_t)> lay_out =
      [&](std::size_t from, std::size_t to, std::size_t start, std::int64_t before) {
        std::size_t shared = to - from > 1 ? sequences[from].size() : 0;
        for (std::size_t i = from + 1; i < to; ++i)
          shared = std::min(shared, alike(i - 1, i));
        if (shared >= start + kLeastShared) before = add(from, start, shared, before), start = shared;
        for (std::size_t i = from; i < to;) {
          std::size_t end = i + 1;
          while (end < to && alike(end - 1, end) >= start + kLeastShared)
            ++end;
          if (end - i > 1)
            lay_out(i, end, start, before);
          else
            p.ends[i] = add(i, start, sequences[i].size(), before);
          i = end;
        }
      };
  for (const auto& s : sequences)
    if (s.empty()) throw Bug("an empty sequence in a pack");
  lay_out(0, sequences.size(), 0, -1);
  p.tokens = on(device, tokens), p.positions = on(device, positions);
  return p;
}

namespace {

// A segment and those before it, first one first.
std::vector<std::size_t> path_to(const Packed& p, std::int64_t segment) {
  std::vector<std::size_t> path;
  for (; segment >= 0; segment = p.segments[static_cast<std::size_t>(segment)].before)
    path.push_back(static_cast<std::size_t>(segment));
  std::reverse(path.begin(), path.end());
  return path;
}

}  // namespace

std::vector<std::int64_t> rows_of(const Packed& p, std::size_t sequence) {
  std::vector<std::int64_t> rows;
  for (std::size_t s : path_to(p, p.ends[sequence]))
    for (std::int64_t i = 0; i < p.segments[s].length; ++i)
      rows.push_back(p.segments[s].begin + i);
  return rows;
}

at::Tensor packed_states(const Packed& p, const std::vector<at::Tensor>& of_sequences) {
  std::vector<at::Tensor> parts;
  for (const Packed::Segment& s : p.segments)
    parts.push_back(of_sequences[s.owner].narrow(0, s.start, s.length));
  return at::cat(parts);
}

namespace {

bool learns(const LlamaLayer& layer) {
  bool found = false;
  const auto look = [&](const at::Tensor& t) { found = found || (t.defined() && t.requires_grad()); };
  for_each_tensor(layer, look);
  if (layer.adapter)
    for_each_low_rank(*layer.adapter, [&](const LowRank& low_rank) { look(low_rank.a), look(low_rank.b); });
  return found;
}

}  // namespace

at::Tensor run_layers(const Llama& model, const at::Tensor& hidden, const Packed& packed,
                      std::int64_t first_layer, std::int64_t last_layer) {
  const ModelConfig& c = model.config;
  at::Tensor x = hidden;
  auto layout = std::make_shared<AttentionLayout>();
  for (std::size_t s = 0; s < packed.segments.size(); ++s) {
    layout->segments.push_back({packed.segments[s].start, {}});
    for (const std::size_t before : path_to(packed, static_cast<std::int64_t>(s)))
      layout->segments.back().pieces.push_back(
          {packed.segments[before].begin, packed.segments[before].length});
  }
  const bool own_code = has_own_code(x);
  const auto kept = own_code ? nullptr : std::make_shared<const Llama>(model);  // until the backward pass
  if (!own_code)
    layout->on_device =
        std::make_shared<VarlenLayout>(varlen_layout(*layout, x.device(), model.place.bfloat16));
  std::map<std::pair<bool, bool>, Rotation> rotations;  // by kinds of layers
  for (auto i = first_layer; i < last_layer; ++i) {
    const auto [at, is_new] = rotations.try_emplace({c.rotates(i), c.is_windowed(i)});
    if (is_new) at->second = rotation_of(rotary_frequencies(c, i), packed.positions);
    const RowPositions positions{
        at->second.cosines, at->second.sines, layout, {c.window_of(i), c.attention_scale, c.attention_cap}};
    const LlamaLayer& l = model.layers[static_cast<std::size_t>(i)];
    if (own_code && model.place.bfloat16 && has_half_layers(c))
      x = add_feed_forward(add_attention(x, l, c, positions, model.rounded), l, c, model.rounded);
    else if (own_code)
      x = any_layer(model, l, x, positions);
    else
      x = recomputed([kept, &l = kept->layers[static_cast<std::size_t>(i)],
                      positions](const at::Tensor& y) { return any_layer(*kept, l, y, positions); },
                     x, learns(l));
  }
  return x;
}

at::Tensor embed(const Llama& model, const at::Tensor& tokens) {
  const at::Tensor x = embed_rows(model.embedding, tokens);
  return model.config.embedding_scale != 1 ? x * model.config.embedding_scale : x;
}

at::Tensor final_norm(const Llama& model, const at::Tensor& hidden) {
  return rms_norm(hidden, model.norm, model.config.norm_epsilon);
}

at::Tensor head_states(const Llama& model, const at::Tensor& hidden) {
  const at::Tensor x = final_norm(model, hidden);
  return model.config.logit_divisor != 1 ? x / model.config.logit_divisor : x;
}

at::Tensor logits(const Llama& model, const Packed& packed) {
  const at::Tensor all = at::linear(
      head_states(model, run_layers(model, embed(model, packed.tokens), packed, 0, model.config.layers)),
      model.head);
  const double cap = model.config.logit_cap;
  return cap > 0 ? at::tanh(all / cap) * cap : all;
}

Llama random_llama(const ModelConfig& c, std::uint64_t seed) {
  const Random random(seed);
  std::uint64_t count = 0;
  auto normal = [&](std::vector<std::int64_t> shape) {
    at::Tensor t = at::empty(shape, at::kFloat);
    Random r = random.derive(count++);
    for (std::int64_t i = 0; i < t.numel(); ++i)
      t.data_ptr<float>()[i] = static_cast<float>(0.02 * r.normal());
    return t;
  };
  Llama m;
  m.config = c;
  m.embedding = normal({c.vocabulary, c.width});
  for (std::int64_t i = 0; i < c.layers; ++i) {
    LlamaLayer l;
    for (const LayerTensor& t : layer_tensors(c))
      l.*t.tensor = is_norm(t.hf) ? at::ones(t.shape) : normal(t.shape);
    m.layers.push_back(l);
  }
  m.norm = at::ones({c.width});
  m.head = c.tied_head ? m.embedding : normal({c.vocabulary, c.width});
  return m;
}

}  // namespace cai
