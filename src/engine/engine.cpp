#include "cai/engine/engine.hpp"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <list>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/stop.hpp"
#include "cai/engine/kernels.hpp"
#include "cai/engine/products.hpp"
#include "cai/engine/sampling.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

// Rows of one pass through the layers. Weights are read from memory once a pass: below about 64 rows that reading
// shows, far above 256 a pass takes long enough to delay the sequences that decode.
constexpr std::int64_t kMaxRows = 192;

// Below so many rows a step between two products takes less time than waking the other threads for it.
constexpr std::int64_t kFewRows = 8;

// Keys and values of consecutive positions, for all layers: a block of `capacity` positions for each layer and head, the keys in lanes.
struct KeyValues {
  KeyValues(const ModelConfig& c, std::int64_t capacity)
      : capacity(capacity), head_width(c.head_width), kv_heads(c.kv_heads),
        keys(static_cast<std::size_t>(c.layers * c.kv_heads * key_room(capacity, c.head_width))),
        values(static_cast<std::size_t>(c.layers * c.kv_heads * capacity * c.head_width)) {}

  float* keys_of(std::int64_t layer, std::int64_t head) { return keys.data() + (layer * kv_heads + head) * key_room(capacity, head_width); }
  float* values_of(std::int64_t layer, std::int64_t head) { return values.data() + (layer * kv_heads + head) * capacity * head_width; }

  std::int64_t capacity, head_width, kv_heads;
  std::vector<float> keys, values;
};

// A prefix that several requests share, computed once.
struct Prefix {
  std::vector<int> tokens;
  KeyValues cache;
};

struct PackedLayer {
  std::vector<float> attention_norm, ffn_norm, qkv_bias, o_bias, q_norm, k_norm;
  PackedMatrix qkv, o, gate_up, down;
};

struct Sequence {
  std::size_t index = 0;                   // of the request
  std::vector<int> tokens;                 // all of it, the shared prefix included; grows while generating
  std::shared_ptr<Prefix> prefix;          // covers tokens[0, prefix->tokens.size())
  std::optional<KeyValues> cache;          // of the positions after the prefix
  std::int64_t computed = 0;               // positions whose keys and values are in the caches
  std::int64_t prompt = 0;                 // length of the prompt

  std::int64_t prefix_length() const { return prefix ? static_cast<std::int64_t>(prefix->tokens.size()) : 0; }
};

// Tokens to read, and the first position whose logits are wanted.
struct Reading {
  std::vector<int> tokens;
  int shared_prefix;
  std::int64_t first_wanted;
};

struct Row {
  Sequence* sequence;
  std::int64_t position;
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

void add_bias(const std::vector<float>& bias, std::int64_t rows, std::int64_t width, float* y) {
  if (bias.empty()) return;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t i = 0; i < width; ++i) y[r * width + i] += bias[static_cast<std::size_t>(i)];
}

}  // namespace

Precision engine_precision(const std::string& dtype) {
  if (dtype == "float32") return Precision::kFloat32;
  if (dtype == "bfloat16") return Precision::kBfloat16;
  if (dtype == "int8" && !has_int8_products()) throw InputError("engine.dtype: int8 needs a CPU with AVX512-VNNI; accepted here: auto, float32, bfloat16");
  if (dtype == "int8") return Precision::kInt8;
  if (dtype != "auto") throw InputError("engine.dtype: " + dtype + "; accepted: auto, float32, bfloat16, int8");
  return Precision::kAuto;
}

bool trains_in_bfloat16(const std::string& dtype) { return dtype == "bfloat16" || (dtype != "float32" && has_bfloat16_products()); }

std::string engine_arithmetic(const std::string& dtype) {
  const auto named = [](Precision p) {
    const char* name = p == Precision::kFloat32 ? "float32" : p == Precision::kInt8 ? "int8" : has_bfloat16_products() ? "bfloat16" : "bfloat16 weights, float32 products";
    return std::string(name) + " (" + kernel_name(p) + ")";
  };
  const Precision precision = engine_precision(dtype), otherwise = has_bfloat16_products() ? Precision::kBfloat16 : Precision::kFloat32;
  const std::string products = precision != Precision::kAuto ? named(precision) : has_int8_products() ? named(Precision::kInt8) + " where it keeps the weights, else " + named(otherwise) : named(otherwise);
  return products + "; training in " + (trains_in_bfloat16(dtype) ? "bfloat16" : "float32");
}

struct Engine::Impl {
  ModelConfig config;
  EngineOptions options;
  Precision precision = Precision::kFloat32;
  at::Tensor embedding;  // [vocabulary, width] float32, of its own
  std::vector<float> norm, inverse_frequencies;
  std::vector<PackedLayer> layers;
  PackedMatrix head;
  std::list<std::shared_ptr<Prefix>> prefixes;  // most recently used first
  Counts counts;

  // Buffers of one pass, kept between passes.
  std::vector<float> hidden, normed, qkv, mixed, projected, gate_up, activated, logits, cosines, sines;

  void load(const Llama& model);
  void load(LlamaReader reader);
  void begin(const ModelConfig& c);
  void add_layer(const LlamaLayer& from);
  void check_token(int token) const;
  void rotate(float* head, std::int64_t row) const;
  void forward(std::span<const Row> rows);
  void attention(std::span<const Row> rows, std::int64_t layer);
  void head_logits(std::span<const std::int64_t> rows);  // into logits, [rows.size(), vocabulary]
  std::shared_ptr<Prefix> shared_prefix(const std::vector<int>& prompt, int length);
  std::unique_ptr<Sequence> start(std::size_t index, const std::vector<int>& prompt, int shared, std::int64_t more);
  template <class List, class Visit>
  void read(std::size_t count, const List& list, const Visit& visit, const std::function<void(std::size_t)>& progress);
};

void Engine::Impl::begin(const ModelConfig& c) {
  config = c;
  precision = engine_precision(options.dtype);
  layers.clear();
  prefixes.clear();
  inverse_frequencies = copy(rotary_frequencies(config));
}

void Engine::Impl::add_layer(const LlamaLayer& from) {
  PackedLayer to;
  to.attention_norm = copy(from.attention_norm);
  to.ffn_norm = copy(from.ffn_norm);
  to.q_norm = copy(from.q_norm);
  to.k_norm = copy(from.k_norm);
  to.qkv_bias = joined({from.q_bias, from.k_bias, from.v_bias});
  to.o_bias = copy(from.o_bias);
  to.qkv = packed({from.q, from.k, from.v}, precision);
  to.o = packed({from.o}, precision);
  to.gate_up = packed({from.gate, from.up}, precision);
  to.down = packed({from.down}, precision);
  layers.push_back(std::move(to));
}

void Engine::Impl::load(const Llama& model) {
  begin(model.config);
  embedding = model.embedding.detach().clone();
  for (const LlamaLayer& layer : model.layers) add_layer(layer);
  norm = copy(model.norm);
  head = packed({model.head}, precision);
}

void Engine::Impl::load(LlamaReader reader) {
  begin(reader.config());
  embedding = reader.embedding();
  for (std::int64_t i = 0; i < config.layers; ++i) add_layer(reader.layer(i));
  norm = copy(reader.norm());
  head = packed({config.tied_head ? embedding : reader.head()}, precision);
  reader.nothing_left();
}

void Engine::Impl::check_token(int token) const {
  if (token < 0 || token >= config.vocabulary) throw Bug("token " + std::to_string(token) + " outside the vocabulary");
}

// Half-split rotation of one head at the row's position.
void Engine::Impl::rotate(float* x, std::int64_t row) const {
  const std::int64_t half = config.head_width / 2;
  const float* c = cosines.data() + row * half;
  const float* s = sines.data() + row * half;
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half];
    x[i] = a * c[i] - b * s[i];
    x[i + half] = b * c[i] + a * s[i];
  }
}

void Engine::Impl::attention(std::span<const Row> rows, std::int64_t layer) {
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
    const std::int64_t at = rows[static_cast<std::size_t>(r)].position - s.prefix_length();
    for (std::int64_t h = 0; h < config.kv_heads; ++h) {
      put_key(row + (config.heads + h) * width, at, width, s.cache->keys_of(layer, h));
      std::copy_n(row + (config.heads + config.kv_heads + h) * width, width, s.cache->values_of(layer, h) + at * width);
    }
  }

  const float scale = 1.0f / std::sqrt(static_cast<float>(width));
  const std::int64_t tasks = count * config.kv_heads;
  const int chunk = static_cast<int>(std::clamp<std::int64_t>(tasks / 32, 1, 8));
#pragma omp parallel
  {
    std::vector<float> room;
#pragma omp for schedule(dynamic, chunk)
    for (std::int64_t task = 0; task < tasks; ++task) {
      const std::int64_t r = task / config.kv_heads, h = task % config.kv_heads;
      const Row& row = rows[static_cast<std::size_t>(r)];
      Sequence& s = *row.sequence;
      const std::int64_t end = row.position + 1, shared = s.prefix_length();
      const std::int64_t begin = config.sliding_window > 0 ? std::max<std::int64_t>(0, end - config.sliding_window) : 0;
      AttentionBlock blocks[2];
      std::size_t n = 0;
      if (begin < shared)
        blocks[n++] = {s.prefix->cache.keys_of(layer, h), s.prefix->cache.values_of(layer, h), begin, std::min(end, shared) - begin};
      const std::int64_t own = std::max(begin, shared);
      if (own < end) blocks[n++] = {s.cache->keys_of(layer, h), s.cache->values_of(layer, h), own - shared, end - own};
      room.resize(static_cast<std::size_t>(3 * end));
      attend(qkv.data() + r * stride + h * group * width, group, std::span<const AttentionBlock>(blocks, n), width, scale, room.data(),
             mixed.data() + (r * config.heads + h * group) * width);
    }
  }
}

// One pass of these rows through all layers; `hidden` holds the normed final states afterwards.
void Engine::Impl::forward(std::span<const Row> rows) {
  const std::int64_t count = static_cast<std::int64_t>(rows.size()), width = config.width, half = config.head_width / 2;
  const std::int64_t qkv_width = (config.heads + 2 * config.kv_heads) * config.head_width;
  const std::int64_t mixed_width = config.heads * config.head_width, ffn = config.ffn_width;
  auto room = [](std::vector<float>& v, std::int64_t n) {
    if (static_cast<std::int64_t>(v.size()) < n) v.resize(static_cast<std::size_t>(n));
  };
  const float* const embedded = embedding.data_ptr<float>();
  room(hidden, count * width), room(normed, count * width), room(qkv, count * qkv_width), room(mixed, count * mixed_width);
  room(projected, count * width), room(gate_up, count * 2 * ffn), room(activated, count * ffn), room(cosines, count * half), room(sines, count * half);

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
  auto norm_rows = [&](const std::vector<float>& weight, float* to) {
#pragma omp parallel for schedule(static) if (count >= kFewRows)
    for (std::int64_t r = 0; r < count; ++r) rms_norm(hidden.data() + r * width, weight.data(), width, config.norm_epsilon, to + r * width);
  };
  auto add_projected = [&] {
#pragma omp parallel for schedule(static) if (count >= kFewRows)
    for (std::int64_t i = 0; i < count * width; ++i) hidden[static_cast<std::size_t>(i)] += projected[static_cast<std::size_t>(i)];
  };
  for (std::int64_t l = 0; l < config.layers; ++l) {
    const PackedLayer& layer = layers[static_cast<std::size_t>(l)];
    norm_rows(layer.attention_norm, normed.data());
    layer.qkv.multiply(normed.data(), count, qkv.data());
    add_bias(layer.qkv_bias, count, qkv_width, qkv.data());
    attention(rows, l);
    layer.o.multiply(mixed.data(), count, projected.data());
    add_bias(layer.o_bias, count, width, projected.data());
    add_projected();
    norm_rows(layer.ffn_norm, normed.data());
    layer.gate_up.multiply(normed.data(), count, gate_up.data());
#pragma omp parallel for schedule(static) if (count >= kFewRows)
    for (std::int64_t r = 0; r < count; ++r) silu_multiply(gate_up.data() + 2 * r * ffn, gate_up.data() + (2 * r + 1) * ffn, ffn, activated.data() + r * ffn);
    layer.down.multiply(activated.data(), count, projected.data());
    add_projected();
  }
  norm_rows(norm, hidden.data());
}

void Engine::Impl::head_logits(std::span<const std::int64_t> rows) {
  const std::int64_t width = config.width, count = static_cast<std::int64_t>(rows.size());
  for (std::int64_t i = 0; i < count; ++i) std::copy_n(hidden.data() + rows[static_cast<std::size_t>(i)] * width, width, normed.data() + i * width);
  if (static_cast<std::int64_t>(logits.size()) < count * config.vocabulary) logits.resize(static_cast<std::size_t>(count * config.vocabulary));
  head.multiply(normed.data(), count, logits.data());
}

// The cached prefix, computed now when it is new. A few stay, so that stages that alternate do not recompute them.
std::shared_ptr<Prefix> Engine::Impl::shared_prefix(const std::vector<int>& prompt, int length) {
  constexpr std::size_t kKept = 4;
  // The prompt's last token is never shared: its hidden state is wanted.
  const std::int64_t n = std::min<std::int64_t>(length, static_cast<std::int64_t>(prompt.size()) - 1);
  if (n < 8) return nullptr;
  for (auto it = prefixes.begin(); it != prefixes.end(); ++it) {
    if (static_cast<std::int64_t>((*it)->tokens.size()) == n && std::equal((*it)->tokens.begin(), (*it)->tokens.end(), prompt.begin())) {
      prefixes.splice(prefixes.begin(), prefixes, it);
      counts.shared_tokens += n;
      return prefixes.front();
    }
  }
  Sequence s;
  s.tokens.assign(prompt.begin(), prompt.begin() + n);
  s.cache.emplace(config, n);
  while (s.computed < n) {
    std::vector<Row> rows;
    for (; s.computed < n && static_cast<std::int64_t>(rows.size()) < kMaxRows; ++s.computed) rows.push_back({&s, s.computed});
    forward(rows);
    if (stop_requested()) throw Stopped();
  }
  counts.prompt_tokens += n;
  prefixes.push_front(std::make_shared<Prefix>(Prefix{s.tokens, std::move(*s.cache)}));
  if (prefixes.size() > kKept) prefixes.pop_back();
  return prefixes.front();
}

// `more`: positions to leave room for behind the prompt.
std::unique_ptr<Sequence> Engine::Impl::start(std::size_t index, const std::vector<int>& prompt, int shared, std::int64_t more) {
  if (prompt.empty()) throw Bug("a request with an empty prompt");
  for (int token : prompt) check_token(token);
  auto s = std::make_unique<Sequence>();
  s->index = index;
  s->tokens = prompt;
  s->prompt = static_cast<std::int64_t>(prompt.size());
  s->prefix = shared > 0 ? shared_prefix(prompt, shared) : nullptr;
  s->computed = s->prefix_length();
  s->cache.emplace(config, s->prompt - s->computed + more);
  return s;
}

Engine::Engine(const Llama& model, EngineOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
  impl_->load(model);
}

Engine::Engine(LlamaReader reader, EngineOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
  impl_->load(std::move(reader));
}

Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;

void Engine::refresh(const Llama& model) { impl_->load(model); }

Engine::Counts Engine::counts() const { return impl_->counts; }

std::int64_t Engine::context() const { return impl_->config.context; }

std::string Engine::arithmetic() const { return engine_arithmetic(impl_->options.dtype); }

void Engine::generate(std::span<const Request> requests, const std::function<void(std::size_t, Completion)>& done) {
  struct Running {
    std::unique_ptr<Sequence> sequence;
    Random random;
    Completion completion;
  };
  Impl& m = *impl_;
  std::vector<Running> running;
  std::size_t next = 0;
  while (next < requests.size() || !running.empty()) {
    if (stop_requested()) throw Stopped();
    while (next < requests.size() && static_cast<long>(running.size()) < m.options.max_sequences) {
      const Request& request = requests[next];
      const std::int64_t room = m.config.context - static_cast<std::int64_t>(request.prompt.size());
      if (room <= 0 || request.max_new_tokens <= 0) {
        done(next++, Completion{.finish = room <= 0 ? Finish::kContext : Finish::kLength});
        continue;
      }
      Running one;
      one.sequence = m.start(next, request.prompt, request.shared_prefix, std::min<std::int64_t>(request.max_new_tokens, room));
      one.random = request.random;
      m.counts.prompt_tokens += one.sequence->prompt - one.sequence->computed;
      running.push_back(std::move(one));
      ++next;
    }
    if (running.empty()) continue;

    // Sequences that decode come first, one row each; prompts fill the rest of the pass.
    std::vector<Row> rows;
    std::vector<std::int64_t> sampled;       // rows whose logits are wanted
    std::vector<std::size_t> sampled_of;     // and the running sequence of each
    for (int decoding = 1; decoding >= 0; --decoding) {
      for (std::size_t i = 0; i < running.size(); ++i) {
        Sequence& s = *running[i].sequence;
        const std::int64_t length = static_cast<std::int64_t>(s.tokens.size());
        if ((length > s.prompt) != (decoding == 1)) continue;
        for (; s.computed < length && static_cast<std::int64_t>(rows.size()) < kMaxRows; ++s.computed) {
          if (s.computed == length - 1) sampled.push_back(static_cast<std::int64_t>(rows.size())), sampled_of.push_back(i);
          rows.push_back({&s, s.computed});
        }
      }
    }
    m.forward(rows);
    m.head_logits(sampled);

    const std::int64_t count = static_cast<std::int64_t>(sampled.size()), vocabulary = m.config.vocabulary;
    std::vector<Sampled> drawn(sampled.size());
#pragma omp parallel for schedule(dynamic, 1)
    for (std::int64_t i = 0; i < count; ++i) {
      Running& one = running[sampled_of[static_cast<std::size_t>(i)]];
      const Request& request = requests[one.sequence->index];
      drawn[static_cast<std::size_t>(i)] =
          sample(std::span<const float>(m.logits.data() + i * vocabulary, static_cast<std::size_t>(vocabulary)), request.temperature,
                 request.top_p, one.random);
    }
    std::vector<std::size_t> finished;
    for (std::size_t i = 0; i < drawn.size(); ++i) {
      Running& one = running[sampled_of[i]];
      const Request& request = requests[one.sequence->index];
      one.completion.tokens.push_back(drawn[i].token);
      one.completion.log_probabilities.push_back(drawn[i].log_probability);
      one.sequence->tokens.push_back(drawn[i].token);
      ++m.counts.generated_tokens;
      const bool stopped = std::find(request.stops.begin(), request.stops.end(), drawn[i].token) != request.stops.end();
      const bool full = static_cast<std::int64_t>(one.sequence->tokens.size()) >= m.config.context;
      if (!stopped && !full && static_cast<int>(one.completion.tokens.size()) < request.max_new_tokens) continue;
      one.completion.finish = stopped ? Finish::kStop
                              : static_cast<int>(one.completion.tokens.size()) >= request.max_new_tokens ? Finish::kLength
                                                                                                         : Finish::kContext;
      finished.push_back(sampled_of[i]);
    }
    std::sort(finished.begin(), finished.end());
    for (std::size_t i : finished) done(running[i].sequence->index, std::move(running[i].completion));
    for (auto it = finished.rbegin(); it != finished.rend(); ++it) running.erase(running.begin() + static_cast<std::ptrdiff_t>(*it));
  }
}

// Reads `count` token lists in passes that are always full, and shows the logits of each position from `first_wanted` on.
// list(index) gives what to read; visit(index, position, logits) is called from several threads, once a position.
template <class List, class Visit>
void Engine::Impl::read(std::size_t count, const List& list, const Visit& visit, const std::function<void(std::size_t)>& progress) {
  constexpr std::size_t kHeadRows = 64;  // bounds the memory of the logits
  std::unique_ptr<Sequence> open;        // begun in an earlier pass
  std::size_t next = 0, finished = 0;
  while (finished < count) {
    if (stop_requested()) throw Stopped();
    std::vector<Row> rows;
    std::vector<std::int64_t> wanted;
    std::vector<std::unique_ptr<Sequence>> complete;
    while (static_cast<std::int64_t>(rows.size()) < kMaxRows && (open || next < count)) {
      if (!open) {
        const Reading reading = list(next);
        if (static_cast<std::int64_t>(reading.tokens.size()) > config.context)
          throw InputError("a text of " + std::to_string(reading.tokens.size()) + " tokens exceeds the model's context of " +
                           std::to_string(config.context));
        open = start(next++, reading.tokens, std::min<int>(reading.shared_prefix, static_cast<int>(reading.first_wanted)), 0);
        open->prompt = reading.first_wanted + 1;
        counts.prompt_tokens += static_cast<std::int64_t>(reading.tokens.size()) - open->computed;
      }
      const std::int64_t length = static_cast<std::int64_t>(open->tokens.size());
      for (; open->computed < length && static_cast<std::int64_t>(rows.size()) < kMaxRows; ++open->computed) {
        if (open->computed + 1 >= open->prompt) wanted.push_back(static_cast<std::int64_t>(rows.size()));
        rows.push_back({open.get(), open->computed});
      }
      if (open->computed == length) complete.push_back(std::move(open));
    }
    forward(rows);
    for (std::size_t first = 0; first < wanted.size(); first += kHeadRows) {
      const std::span<const std::int64_t> part(wanted.data() + first, std::min(kHeadRows, wanted.size() - first));
      head_logits(part);
#pragma omp parallel for schedule(dynamic, 1)
      for (std::size_t i = 0; i < part.size(); ++i) {
        const Row& row = rows[static_cast<std::size_t>(part[i])];
        visit(row.sequence->index, row.position, logits.data() + static_cast<std::int64_t>(i) * config.vocabulary);
      }
    }
    finished += complete.size();
    if (progress && !complete.empty()) progress(finished);
  }
}

std::vector<std::vector<float>> Engine::score(std::span<const ScoreRequest> requests, const std::function<void(std::size_t)>& progress) {
  Impl& m = *impl_;
  std::vector<std::vector<float>> results(requests.size());
  const auto list = [&](std::size_t i) {
    const ScoreRequest& request = requests[i];
    if (request.continuation.empty() || request.prompt.empty()) throw Bug("a score request without a prompt or a continuation");
    for (int token : request.continuation) m.check_token(token);
    results[i].resize(request.continuation.size());
    Reading reading{request.prompt, request.shared_prefix, static_cast<std::int64_t>(request.prompt.size()) - 1};
    reading.tokens.insert(reading.tokens.end(), request.continuation.begin(), request.continuation.end() - 1);
    return reading;
  };
  const auto visit = [&](std::size_t i, std::int64_t position, const float* logits) {
    const std::size_t at = static_cast<std::size_t>(position) + 1 - requests[i].prompt.size();
    results[i][at] = static_cast<float>(logits[requests[i].continuation[at]] - log_sum_exp(logits, m.config.vocabulary));
  };
  m.read(requests.size(), list, visit, progress);
  return results;
}

std::vector<std::vector<float>> Engine::choose(std::span<const ChoiceRequest> requests, const std::function<void(std::size_t)>& progress) {
  Impl& m = *impl_;
  std::vector<std::vector<float>> results(requests.size());
  const auto list = [&](std::size_t i) {
    if (requests[i].prompt.empty()) throw Bug("a choice request without a prompt");
    for (int token : requests[i].options) m.check_token(token);
    return Reading{requests[i].prompt, requests[i].shared_prefix, static_cast<std::int64_t>(requests[i].prompt.size()) - 1};
  };
  const auto visit = [&](std::size_t i, std::int64_t, const float* logits) {
    const double total = log_sum_exp(logits, m.config.vocabulary);
    for (int option : requests[i].options) results[i].push_back(static_cast<float>(logits[option] - total));
  };
  m.read(requests.size(), list, visit, progress);
  return results;
}

}  // namespace cai
