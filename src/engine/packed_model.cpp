#include "cai/engine/packed_model.hpp"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cai/engine/engine.hpp"
#include "cai/engine/kernels.hpp"
#include "cai/engine/products.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

// Below so many rows a step between two products takes less time than waking the other threads for it.
constexpr std::int64_t kFewRows = 8;

struct PackedLayer {
  std::vector<float> attention_norm, ffn_norm, qkv_bias, o_bias, q_norm, k_norm;
  PackedMatrix qkv, o, gate_up, down;
};

std::vector<float> copy(const at::Tensor& t) {
  if (!t.defined()) return {};
  const at::Tensor c = t.detach().contiguous();
  return {c.data_ptr<float>(), c.data_ptr<float>() + c.numel()};
}

PackedMatrix packed(std::initializer_list<at::Tensor> parts, Precision precision) {
  std::vector<at::Tensor> kept;
  std::vector<const float*> data;
  std::vector<std::int64_t> outs;
  for (const at::Tensor& t : parts) {
    kept.push_back(t.detach().contiguous());
    data.push_back(kept.back().data_ptr<float>());
    outs.push_back(t.size(0));
  }
  return PackedMatrix(data, outs, kept.front().size(1), precision);
}

std::vector<float> joined(std::initializer_list<at::Tensor> parts) {
  std::vector<float> all;
  for (const at::Tensor& t : parts) {
    const std::vector<float> one = copy(t);
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

const float* data_of(const std::vector<float>& bias) { return bias.empty() ? nullptr : bias.data(); }

}  // namespace

struct PackedModel::Impl {
  std::string dtype;
  ModelConfig config;
  Precision precision = Precision::kFloat32;
  Cached cached = Cached::kFloat32;
  at::Tensor embedding;  // [vocabulary, width] float32, of its own
  std::vector<float> norm, inverse_frequencies;
  std::vector<PackedLayer> layers;
  PackedMatrix head;

  // Buffers of one pass, kept between passes.
  std::vector<float> hidden, qkv, logits, cosines, sines;
  Inputs normed, mixed, activated;

  void load(const Llama& model);
  void load(LlamaReader reader);
  void refresh(const Llama& model, std::int64_t unchanged);
  void begin(const ModelConfig& c);
  void add_layer(const LlamaLayer& from);
  void rotate(float* head, std::int64_t row) const;
  void forward(std::span<const Row> rows, std::span<const std::int64_t> wanted);
  void attention(std::span<const Row> rows, std::int64_t layer);
  void head_logits(std::int64_t first, std::int64_t count);  // into logits, [count, vocabulary]
};

void PackedModel::Impl::begin(const ModelConfig& c) {
  config = c;
  precision = engine_precision(dtype);
  cached = cached_of(config, dtype);
  layers.clear();
  inverse_frequencies = copy(rotary_frequencies(config));
}

void PackedModel::Impl::add_layer(const LlamaLayer& from) {
  PackedLayer to;
  to.attention_norm = copy(from.attention_norm);
  to.ffn_norm = copy(from.ffn_norm);
  to.q_norm = copy(from.q_norm);
  to.k_norm = copy(from.k_norm);
  to.qkv_bias = joined({from.q_bias, from.k_bias, from.v_bias});
  to.o_bias = copy(from.o_bias);
  to.qkv = packed({from.q, from.k, from.v}, precision);
  to.o = packed({from.o}, precision);
  const at::Tensor gate = from.gate.detach().contiguous(), up = from.up.detach().contiguous();
  to.gate_up = PackedMatrix::gated(gate.data_ptr<float>(), up.data_ptr<float>(), gate.size(0), gate.size(1), precision);
  to.down = packed({from.down}, precision);
  layers.push_back(std::move(to));
}

void PackedModel::Impl::load(const Llama& model) {
  begin(model.config);
  refresh(model, 0);
}

void PackedModel::Impl::refresh(const Llama& model, std::int64_t unchanged) {
  layers.resize(static_cast<std::size_t>(unchanged));
  for (std::size_t i = layers.size(); i < model.layers.size(); ++i) add_layer(model.layers[i]);
  norm = copy(model.norm);
  if (unchanged > 0) return;
  embedding = model.embedding.detach().clone();
  head = packed({model.head}, precision);
}

void PackedModel::Impl::load(LlamaReader reader) {
  begin(reader.config());
  embedding = reader.embedding();
  for (std::int64_t i = 0; i < config.layers; ++i) add_layer(reader.layer(i));
  norm = copy(reader.norm());
  head = packed({config.tied_head ? embedding : reader.head()}, precision);
  reader.nothing_left();
}

// Half-split rotation of one head at the row's position.
void PackedModel::Impl::rotate(float* x, std::int64_t row) const {
  const std::int64_t half = config.head_width / 2;
  const float* c = cosines.data() + row * half;
  const float* s = sines.data() + row * half;
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half];
    x[i] = a * c[i] - b * s[i];
    x[i + half] = b * c[i] + a * s[i];
  }
}

void PackedModel::Impl::attention(std::span<const Row> rows, std::int64_t layer) {
  const std::int64_t width = config.head_width, group = config.heads / config.kv_heads;
  const std::int64_t stride = (config.heads + 2 * config.kv_heads) * width;
  const PackedLayer& weights = layers[static_cast<std::size_t>(layer)];
  const std::int64_t count = static_cast<std::int64_t>(rows.size());

  // Keys and values of every row first: a row of a prompt sees the rows before it in the same pass.
#pragma omp parallel for schedule(static) if (count >= kFewRows)
  for (std::int64_t r = 0; r < count; ++r) {
    float* row = qkv.data() + r * stride;
    for (std::int64_t h = 0; h < config.heads + config.kv_heads; ++h) {
      float* x = row + h * width;
      const std::vector<float>& head_norm = h < config.heads ? weights.q_norm : weights.k_norm;
      if (!head_norm.empty()) rms_norm(x, head_norm.data(), width, config.norm_epsilon, x);
      rotate(x, r);
    }
    Sequence& s = *rows[static_cast<std::size_t>(r)].sequence;
    const std::int64_t at = rows[static_cast<std::size_t>(r)].position - s.shared();
    for (std::int64_t h = 0; h < config.kv_heads; ++h) {
      put_key(cached, row + (config.heads + h) * width, at, width, s.cache->keys_of(layer, h));
      put_value(cached, row + (config.heads + config.kv_heads + h) * width, at, width, s.cache->values_of(layer, h));
    }
  }

  // Neighbours in a text go together: they see nearly the same positions.
  const std::int64_t together = config.sliding_window > 0 ? 1 : std::max<std::int64_t>(1, kQueries / group);
  std::vector<std::int64_t> firsts;
  for (std::int64_t r = 0; r < count; ++r) {
    const bool next = r > 0 && rows[static_cast<std::size_t>(r)].sequence == rows[static_cast<std::size_t>(r - 1)].sequence && rows[static_cast<std::size_t>(r)].position == rows[static_cast<std::size_t>(r - 1)].position + 1;
    if (!next || r - firsts.back() == together) firsts.push_back(r);
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(width));
  const std::int64_t tasks = static_cast<std::int64_t>(firsts.size()) * config.kv_heads;
  firsts.push_back(count);
  const int chunk = static_cast<int>(std::clamp<std::int64_t>(tasks / 32, 1, 8));
#pragma omp parallel
  {
    std::vector<float> room;
#pragma omp for schedule(dynamic, chunk)
    for (std::int64_t task = 0; task < tasks; ++task) {
      const std::int64_t first = firsts[static_cast<std::size_t>(task / config.kv_heads)], after = firsts[static_cast<std::size_t>(task / config.kv_heads + 1)], h = task % config.kv_heads;
      const Row& last = rows[static_cast<std::size_t>(after - 1)];
      Sequence& s = *last.sequence;
      const std::int64_t end = last.position + 1, shared = s.shared();
      const std::int64_t begin = config.sliding_window > 0 ? std::max<std::int64_t>(0, end - config.sliding_window) : 0;
      AttentionBlock blocks[2];
      std::size_t n = 0;
      if (begin < shared)
        blocks[n++] = {s.prefix->cache.keys_of(layer, h), s.prefix->cache.values_of(layer, h), begin, std::min(end, shared) - begin};
      const std::int64_t own = std::max(begin, shared);
      if (own < end) blocks[n++] = {s.cache->keys_of(layer, h), s.cache->values_of(layer, h), own - shared, end - own};
      room.resize(static_cast<std::size_t>(kQueries * end));
      attend(cached, {qkv.data() + first * stride + h * group * width, after - first, group, stride}, std::span<const AttentionBlock>(blocks, n), width, scale, room.data(),
             mixed, first, h * group * width);
    }
  }
}

// Leaves the normed final states of the wanted rows in `hidden`.
void PackedModel::Impl::forward(std::span<const Row> rows, std::span<const std::int64_t> wanted) {
  std::int64_t count = static_cast<std::int64_t>(rows.size());
  const std::int64_t width = config.width, half = config.head_width / 2;
  const std::int64_t qkv_width = (config.heads + 2 * config.kv_heads) * config.head_width;
  const std::int64_t mixed_width = config.heads * config.head_width, ffn = config.ffn_width;
  auto room = [](std::vector<float>& v, std::int64_t n) {
    if (static_cast<std::int64_t>(v.size()) < n) v.resize(static_cast<std::size_t>(n));
  };
  const float* const embedded = embedding.data_ptr<float>();
  room(hidden, count * width), room(qkv, count * qkv_width), room(cosines, count * half), room(sines, count * half);

#pragma omp parallel for schedule(static) if (count >= kFewRows)
  for (std::int64_t r = 0; r < count; ++r) {
    const Row& row = rows[static_cast<std::size_t>(r)];
    const int token = row.sequence->tokens[static_cast<std::size_t>(row.position)];
    std::copy_n(embedded + token * width, width, hidden.data() + r * width);
    for (std::int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(row.position) * inverse_frequencies[static_cast<std::size_t>(i)];
      cosines[static_cast<std::size_t>(r * half + i)] = std::cos(angle);
      sines[static_cast<std::size_t>(r * half + i)] = std::sin(angle);
    }
  }
  const auto norm_into = [&](const std::vector<float>& weight, Inputs& to) {
#pragma omp parallel if (count >= kFewRows)
    {
      std::vector<float> scratch;
#pragma omp for schedule(static)
      for (std::int64_t r = 0; r < count; ++r) {
        float* const row = to.room(r, scratch);
        rms_norm(hidden.data() + r * width, weight.data(), width, config.norm_epsilon, row);
        to.put(r, row);
      }
    }
  };
  for (std::int64_t l = 0; l < config.layers; ++l) {
    const PackedLayer& layer = layers[static_cast<std::size_t>(l)];
    normed.start(count, width, layer.qkv.takes_tiles());
    norm_into(layer.attention_norm, normed);
    layer.qkv.multiply(normed, count, qkv.data(), data_of(layer.qkv_bias));
    mixed.start(count, mixed_width, layer.o.takes_tiles());
    attention(rows, l);
    if (l == config.layers - 1) {  // of the others no more is needed than their keys and values
      count = static_cast<std::int64_t>(wanted.size());
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t from = wanted[static_cast<std::size_t>(i)];
        if (from == i) continue;
        mixed.copy_row(from, i);
        std::copy_n(hidden.data() + from * width, width, hidden.data() + i * width);
      }
      if (count == 0) return;
    }
    layer.o.multiply(mixed, count, hidden.data(), data_of(layer.o_bias), true);
    normed.start(count, width, layer.gate_up.takes_tiles());
    norm_into(layer.ffn_norm, normed);
    activated.start(count, ffn, layer.down.takes_tiles());
    layer.gate_up.multiply(normed, count, activated);
    layer.down.multiply(activated, count, hidden.data(), nullptr, true);
  }
#pragma omp parallel for schedule(static) if (count >= kFewRows)
  for (std::int64_t r = 0; r < count; ++r) rms_norm(hidden.data() + r * width, norm.data(), width, config.norm_epsilon, hidden.data() + r * width);
}

void PackedModel::Impl::head_logits(std::int64_t first, std::int64_t count) {
  if (static_cast<std::int64_t>(logits.size()) < count * config.vocabulary) logits.resize(static_cast<std::size_t>(count * config.vocabulary));
  head.multiply(hidden.data() + first * config.width, count, logits.data());
}

void KeyValues::copy(KeyValues& other, std::int64_t first) {
  for (std::int64_t b = 0; b < blocks_; ++b)
    std::memcpy(bytes_.get() + b * block_, other.bytes_.get() + b * other.block_ + first * position_, static_cast<std::size_t>(std::min(block_, other.block_ - first * position_)));
}

Cached cached_of(const ModelConfig& config, const std::string& dtype) {
  const bool takes_pairs = has_bfloat16_products() && config.head_width % 2 == 0 && config.head_width <= kWidestPairs;
  return takes_pairs && engine_precision(dtype) != Precision::kFloat32 ? Cached::kBfloat16 : Cached::kFloat32;
}

PackedModel::PackedModel(std::string dtype) : impl_(std::make_unique<Impl>()) { impl_->dtype = std::move(dtype); }
PackedModel::~PackedModel() = default;
PackedModel::PackedModel(PackedModel&&) noexcept = default;

void PackedModel::load(const Llama& model) { impl_->load(model); }
void PackedModel::load(LlamaReader reader) { impl_->load(std::move(reader)); }
void PackedModel::refresh(const Llama& model, std::int64_t unchanged) { impl_->refresh(model, unchanged); }
void PackedModel::forward(std::span<const Row> rows, std::span<const std::int64_t> wanted) { impl_->forward(rows, wanted); }

const float* PackedModel::head_logits(std::int64_t first, std::int64_t count) {
  impl_->head_logits(first, count);
  return impl_->logits.data();
}

const ModelConfig& PackedModel::config() const { return impl_->config; }
Cached PackedModel::cached() const { return impl_->cached; }

}  // namespace cai
