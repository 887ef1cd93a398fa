#include "cai/engine/packed_model.hpp"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "cai/engine/engine.hpp"
#include "cai/engine/kernels.hpp"
#include "cai/engine/packed_layer.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/adapter.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

// Below so many rows a step between two products takes less time than waking the other threads for it.
constexpr std::int64_t kFewRows = 8;

const float* data_of(const std::vector<float>& bias) {
  return bias.empty() ? nullptr : bias.data();
}

/// Of a sequence or a prefix, which the model itself has opened.
template <class Text>
KeyValues& cache_of(Text& text) {
  return static_cast<KeyValues&>(*text.cache);
}

void make_room(std::vector<float>& v, std::int64_t n) {
  if (static_cast<std::int64_t>(v.size()) < n) v.resize(static_cast<std::size_t>(n));
}

}  // namespace

struct PackedModel::Impl {
  std::string dtype;
  ModelConfig config;
  Precision precision = Precision::kFloat32;
  Cached cached = Cached::kFloat32;
  at::Tensor embedding;  // [vocabulary, width] float32, of its own
  std::vector<float> norm;
  std::vector<Turning> turnings;
  std::vector<std::size_t> turning_of;  // [layers]
  std::vector<PackedLayer> layers;
  PackedMatrix head;

  // Buffers of one pass, kept between passes.
  std::vector<float> hidden, qkv, logits, branch, both;
  Inputs normed, mixed, activated;

  void load(const Llama& model);
  void load(LlamaReader reader);
  void refresh(const Llama& model, std::int64_t unchanged);
  void begin(const ModelConfig& c);
  void set_norm(const at::Tensor& weight);
  void forward(std::span<const Row> rows, std::span<const std::int64_t> wanted);
  void enter(std::span<const Row> rows);
  void take(const std::vector<float>& norm, std::int64_t count, Inputs& to) const;
  void add(const PackedMatrix& matrix, const Inputs& from, std::int64_t count, const std::vector<float>& bias,
           const std::vector<float>& norm);
  void attention(std::span<const Row> rows, std::int64_t layer);
  void feed_forward(const PackedLayer& layer, std::int64_t count);
  void attend_rows(std::span<const Row> rows, std::int64_t l);      // leaves what attention mixed in `mixed`
  void finish_layer(const PackedLayer& layer, std::int64_t count);  // takes it to the states after the layer
  void states(std::span<const Row> rows, std::span<const std::int64_t> layers, float* out);
  void head_logits(std::int64_t first, std::int64_t count);  // into logits, [count, vocabulary]
};

void PackedModel::Impl::begin(const ModelConfig& c) {
  config = c;
  precision = engine_precision(dtype);
  cached = cached_of(config, dtype);
  layers.clear();
  turnings.clear(), turning_of.clear();
  std::map<std::pair<bool, bool>, std::size_t> kinds;  // of layers: they rotate, they are windowed
  for (std::int64_t l = 0; l < config.layers; ++l) {
    const auto [at, is_new] = kinds.try_emplace({config.rotates(l), config.is_windowed(l)}, turnings.size());
    turning_of.push_back(at->second);
    if (is_new) turnings.emplace_back(config, l);
  }
}

// The final norm, with what the logits are divided by.
void PackedModel::Impl::set_norm(const at::Tensor& weight) {
  norm = floats_of(weight);
  for (float& w : norm)
    w /= static_cast<float>(config.logit_divisor);
}

void PackedModel::Impl::load(const Llama& model) {
  begin(model.config);
  refresh(model, 0);
}

void PackedModel::Impl::refresh(const Llama& model, std::int64_t unchanged) {
  layers.erase(layers.begin() + unchanged, layers.end());
  for (std::size_t i = layers.size(); i < model.layers.size(); ++i)
    layers.emplace_back(merged(model.layers[i]), config, precision);
  set_norm(model.norm);
  if (unchanged > 0) return;
  embedding = model.embedding.detach().clone();
  head = packed_matrix({model.head}, precision);
}

void PackedModel::Impl::load(LlamaReader reader) {
  begin(reader.config());
  embedding = reader.embedding();
  for (std::int64_t i = 0; i < config.layers; ++i)
    layers.emplace_back(reader.layer(i), config, precision);
  set_norm(reader.norm());
  head = packed_matrix({config.tied_head ? embedding : reader.head()}, precision);
  reader.nothing_left();
}

void PackedModel::Impl::attention(std::span<const Row> rows, std::int64_t layer) {
  const std::int64_t width = config.head_width, group = config.heads / config.kv_heads;
  const std::int64_t stride = (config.heads + 2 * config.kv_heads) * width;
  const std::int64_t count = static_cast<std::int64_t>(rows.size()), sliding = config.window_of(layer);
  const PackedLayer& weights = layers[static_cast<std::size_t>(layer)];
  const Turning& turning = turnings[turning_of[static_cast<std::size_t>(layer)]];

  // Keys and values of every row first: a row of a prompt sees the rows before it in the same pass.
#pragma omp parallel for schedule(static) if (count >= kFewRows)
  for (std::int64_t r = 0; r < count; ++r) {
    float* row = qkv.data() + r * stride;
    turn_heads(weights, turning, config, r, row);
    Sequence& s = *rows[static_cast<std::size_t>(r)].sequence;
    const std::int64_t at = rows[static_cast<std::size_t>(r)].position - shared_positions(s);
    for (std::int64_t h = 0; h < config.kv_heads; ++h) {
      put_key(cached, row + (config.heads + h) * width, at, width, cache_of(s).keys_of(layer, h));
      put_value(cached, row + (config.heads + config.kv_heads + h) * width, at, width,
                cache_of(s).values_of(layer, h));
    }
  }

  // Neighbours in a text go together: they see nearly the same positions.
  const std::int64_t together = sliding > 0 ? 1 : std::max<std::int64_t>(1, kQueries / group);
  std::vector<std::int64_t> firsts;
  for (std::int64_t r = 0; r < count; ++r) {
    const bool next =
        r > 0 &&
        rows[static_cast<std::size_t>(r)].sequence == rows[static_cast<std::size_t>(r - 1)].sequence &&
        rows[static_cast<std::size_t>(r)].position == rows[static_cast<std::size_t>(r - 1)].position + 1;
    if (!next || r - firsts.back() == together) firsts.push_back(r);
  }
  const ScoreRule rule(config.attention_scale > 0 ? static_cast<float>(config.attention_scale)
                                                  : 1.0f / std::sqrt(static_cast<float>(width)),
                       static_cast<float>(config.attention_cap));
  const std::int64_t tasks = static_cast<std::int64_t>(firsts.size()) * config.kv_heads;
  firsts.push_back(count);
  const int chunk = static_cast<int>(std::clamp<std::int64_t>(tasks / 32, 1, 8));
#pragma omp parallel
  {
    std::vector<float> room;
#pragma omp for schedule(dynamic, chunk)
    for (std::int64_t task = 0; task < tasks; ++task) {
      const std::int64_t first = firsts[static_cast<std::size_t>(task / config.kv_heads)],
                         after = firsts[static_cast<std::size_t>(task / config.kv_heads + 1)],
                         h = task % config.kv_heads;
      const Row& last = rows[static_cast<std::size_t>(after - 1)];
      Sequence& s = *last.sequence;
      const std::int64_t end = last.position + 1, shared = shared_positions(s);
      const std::int64_t begin = sliding > 0 ? std::max<std::int64_t>(0, end - sliding) : 0;
      AttentionBlock blocks[2];
      std::size_t n = 0;
      if (begin < shared)
        blocks[n++] = {cache_of(*s.prefix).keys_of(layer, h), cache_of(*s.prefix).values_of(layer, h), begin,
                       std::min(end, shared) - begin};
      const std::int64_t own = std::max(begin, shared);
      if (own < end)
        blocks[n++] = {cache_of(s).keys_of(layer, h), cache_of(s).values_of(layer, h), own - shared,
                       end - own};
      room.resize(static_cast<std::size_t>(kQueries * end));
      attend(cached, {qkv.data() + first * stride + h * group * width, after - first, group, stride},
             std::span<const AttentionBlock>(blocks, n), width, rule, room.data(), mixed, first,
             h * group * width);
    }
  }
}

// Embeds the rows and makes the angles of their positions.
void PackedModel::Impl::enter(std::span<const Row> rows) {
  const std::int64_t count = static_cast<std::int64_t>(rows.size()), width = config.width;
  const float* const embedded = embedding.data_ptr<float>();
  const float scale = static_cast<float>(config.embedding_scale);
  make_room(hidden, count * width);
  for (Turning& t : turnings)
    make_room(t.cosines, count * t.half()), make_room(t.sines, count * t.half());
#pragma omp parallel for schedule(static) if (count >= kFewRows)
  for (std::int64_t r = 0; r < count; ++r) {
    const Row& row = rows[static_cast<std::size_t>(r)];
    const int token = row.sequence->tokens[static_cast<std::size_t>(row.position)];
    float* const to = hidden.data() + r * width;
    std::copy_n(embedded + token * width, width, to);
    for (std::int64_t i = 0; i < width && scale != 1; ++i)
      to[i] *= scale;
    for (Turning& t : turnings)
      t.turn_to(row.position, r);
  }
}

// What a product takes: the states, normed where there is a norm before.
void PackedModel::Impl::take(const std::vector<float>& before, std::int64_t count, Inputs& to) const {
  const std::int64_t width = config.width;
#pragma omp parallel if (count >= kFewRows)
  {
    std::vector<float> scratch;
#pragma omp for schedule(static)
    for (std::int64_t r = 0; r < count; ++r) {
      float* const row = to.room(r, scratch);
      if (before.empty())
        std::copy_n(hidden.data() + r * width, width, row);
      else
        rms_norm(hidden.data() + r * width, before.data(), width, config.norm_epsilon, row);
      to.put(r, row);
    }
  }
}

// The states grow by the matrix' products, which are normed where there is a norm after, and scaled where the
// model has that.
void PackedModel::Impl::add(const PackedMatrix& matrix, const Inputs& from, std::int64_t count,
                            const std::vector<float>& bias, const std::vector<float>& after) {
  if (after.empty() && config.residual_scale == 1)
    return matrix.multiply(from, count, hidden.data(), data_of(bias), true);
  const std::int64_t width = config.width;
  const float scale = static_cast<float>(config.residual_scale);
  make_room(branch, count * width);
  matrix.multiply(from, count, branch.data(), data_of(bias));
#pragma omp parallel for schedule(static) if (count >= kFewRows)
  for (std::int64_t r = 0; r < count; ++r) {
    float *const more = branch.data() + r * width, *const to = hidden.data() + r * width;
    if (!after.empty()) rms_norm(more, after.data(), width, config.norm_epsilon, more);
    for (std::int64_t i = 0; i < width; ++i)
      to[i] += scale * more[i];
  }
}

// `normed` becomes `activated`.
void PackedModel::Impl::feed_forward(const PackedLayer& layer, std::int64_t count) {
  const std::int64_t ffn = config.ffn_width;
  activated.start(count, ffn, layer.down.takes_tiles());
  if (!config.gelu) return layer.gate_up.multiply(normed, count, activated);
  make_room(both, count * 2 * ffn);
  layer.gate_up.multiply(normed, count, both.data());
#pragma omp parallel if (count >= kFewRows)
  {
    std::vector<float> scratch;
#pragma omp for schedule(static)
    for (std::int64_t r = 0; r < count; ++r) {
      float* const row = activated.room(r, scratch);
      gelu_multiply(both.data() + 2 * r * ffn, both.data() + (2 * r + 1) * ffn, ffn, row);
      activated.put(r, row);
    }
  }
}

void PackedModel::Impl::attend_rows(std::span<const Row> rows, std::int64_t l) {
  const PackedLayer& layer = layers[static_cast<std::size_t>(l)];
  const std::int64_t count = static_cast<std::int64_t>(rows.size());
  normed.start(count, config.width, layer.qkv.takes_tiles());
  take(layer.attention_norm, count, normed);
  layer.qkv.multiply(normed, count, qkv.data(), data_of(layer.qkv_bias));
  mixed.start(count, config.heads * config.head_width, layer.o.takes_tiles());
  attention(rows, l);
}

void PackedModel::Impl::finish_layer(const PackedLayer& layer, std::int64_t count) {
  add(layer.o, mixed, count, layer.o_bias, layer.attention_post_norm);
  normed.start(count, config.width, layer.gate_up.takes_tiles());
  take(layer.ffn_norm, count, normed);
  feed_forward(layer, count);
  add(layer.down, activated, count, {}, layer.ffn_post_norm);
}

// Leaves the normed final states of the wanted rows in `hidden`.
void PackedModel::Impl::forward(std::span<const Row> rows, std::span<const std::int64_t> wanted) {
  std::int64_t count = static_cast<std::int64_t>(rows.size());
  const std::int64_t width = config.width;
  make_room(qkv, count * (config.heads + 2 * config.kv_heads) * config.head_width);
  enter(rows);
  for (std::int64_t l = 0; l < config.layers; ++l) {
    attend_rows(rows, l);
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
    finish_layer(layers[static_cast<std::size_t>(l)], count);
  }
#pragma omp parallel for schedule(static) if (count >= kFewRows)
  for (std::int64_t r = 0; r < count; ++r)
    rms_norm(hidden.data() + r * width, norm.data(), width, config.norm_epsilon, hidden.data() + r * width);
}

void PackedModel::Impl::states(std::span<const Row> rows, std::span<const std::int64_t> wanted, float* out) {
  const std::int64_t count = static_cast<std::int64_t>(rows.size()), width = config.width,
                     taps = static_cast<std::int64_t>(wanted.size());
  make_room(qkv, count * (config.heads + 2 * config.kv_heads) * config.head_width);
  enter(rows);
  std::int64_t tap = 0;
  for (std::int64_t l = 0; tap < taps; ++l) {
    attend_rows(rows, l);
    finish_layer(layers[static_cast<std::size_t>(l)], count);
    if (wanted[static_cast<std::size_t>(tap)] != l + 1) continue;
    for (std::int64_t r = 0; r < count; ++r)
      std::copy_n(hidden.data() + r * width, width, out + (r * taps + tap) * width);
    ++tap;
  }
}

void PackedModel::Impl::head_logits(std::int64_t first, std::int64_t count) {
  if (static_cast<std::int64_t>(logits.size()) < count * config.vocabulary)
    logits.resize(static_cast<std::size_t>(count * config.vocabulary));
  head.multiply(hidden.data() + first * config.width, count, logits.data());
  const float cap = static_cast<float>(config.logit_cap);
  if (cap == 0) return;
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count * config.vocabulary; ++i)
    logits[static_cast<std::size_t>(i)] = cap * std::tanh(logits[static_cast<std::size_t>(i)] / cap);
}

void KeyValues::copy(KeyValues& other, std::int64_t first) {
  for (std::int64_t b = 0; b < blocks_; ++b)
    std::memcpy(bytes_.get() + b * block_, other.bytes_.get() + b * other.block_ + first * position_,
                static_cast<std::size_t>(std::min(block_, other.block_ - first * position_)));
}

Cached cached_of(const ModelConfig& config, const std::string& dtype) {
  const bool takes_pairs =
      has_bfloat16_products() && config.head_width % 2 == 0 && config.head_width <= kWidestPairs;
  return takes_pairs && engine_precision(dtype) != Precision::kFloat32 ? Cached::kBfloat16 : Cached::kFloat32;
}

PackedModel::PackedModel(std::string dtype) : impl_(std::make_unique<Impl>()) {
  impl_->dtype = std::move(dtype);
}
PackedModel::~PackedModel() = default;

void PackedModel::load(const Llama& model) {
  impl_->load(model);
}
void PackedModel::load(LlamaReader reader) {
  impl_->load(std::move(reader));
}
void PackedModel::refresh(const Llama& model, std::int64_t unchanged) {
  impl_->refresh(model, unchanged);
}
void PackedModel::forward(std::span<const Row> rows, std::span<const std::int64_t> wanted) {
  impl_->forward(rows, wanted);
}

void PackedModel::states(std::span<const Row> rows, std::span<const std::int64_t> layers, float* out) {
  impl_->states(rows, layers, out);
}

const ModelConfig& PackedModel::config() const {
  return impl_->config;
}

void PackedModel::open(Sequence& s, std::int64_t positions) {
  auto cache = std::make_unique<KeyValues>(impl_->config, impl_->cached, positions - shared_positions(s));
  if (s.prefix) cache->copy(cache_of(*s.prefix), shared_positions(s));
  s.cache = std::move(cache);
}

void PackedModel::draw(std::span<const Drawing> drawings, std::span<Sampled> drawn) {
  if (drawings.empty()) return;
  const std::int64_t vocabulary = impl_->config.vocabulary,
                     count = static_cast<std::int64_t>(drawings.size());
  impl_->head_logits(0, drawings.back().wanted + 1);
#pragma omp parallel for schedule(dynamic, 1)
  for (std::int64_t i = 0; i < count; ++i) {
    const Drawing& d = drawings[static_cast<std::size_t>(i)];
    drawn[static_cast<std::size_t>(i)] =
        sample(std::span(impl_->logits.data() + d.wanted * vocabulary, static_cast<std::size_t>(vocabulary)),
               d.temperature, d.top_p, *d.random);
  }
}

void PackedModel::log_probabilities(std::span<const Asked> asked, std::span<float> found) {
  constexpr std::int64_t kHeadRows = 64;  // bounds the memory of the logits
  const std::int64_t vocabulary = impl_->config.vocabulary;
  for (std::size_t from = 0; from < asked.size();) {
    const std::int64_t first = asked[from].wanted;
    std::vector<std::size_t> begins;  // of each row's
    std::size_t to = from;
    for (; to < asked.size() && asked[to].wanted < first + kHeadRows; ++to)
      if (to == from || asked[to].wanted != asked[to - 1].wanted) begins.push_back(to);
    const std::size_t rows = begins.size();
    begins.push_back(to);
    impl_->head_logits(first, asked[to - 1].wanted + 1 - first);
#pragma omp parallel for schedule(dynamic, 1)
    for (std::size_t r = 0; r < rows; ++r) {
      const float* const logits = impl_->logits.data() + (asked[begins[r]].wanted - first) * vocabulary;
      const double total = log_sum_exp(logits, vocabulary);
      for (std::size_t i = begins[r]; i < begins[r + 1]; ++i)
        found[i] = static_cast<float>(logits[asked[i].token] - total);
    }
    from = to;
  }
}

}  // namespace cai
