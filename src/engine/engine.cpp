#include "cai/engine/engine.hpp"

#include <algorithm>
#include <list>

#include "cai/base/error.hpp"
#include "cai/base/stop.hpp"
#include "cai/engine/devices.hpp"
#include "cai/engine/device_model.hpp"
#include "cai/engine/packed_model.hpp"
#include "cai/engine/products.hpp"
#include "cai/engine/sampling.hpp"
#include "cai/engine/sharing.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/llama.hpp"
#include "cai/model/tensors.hpp"

namespace cai {
namespace {

// Tokens to read, and the first position whose logits are wanted.
struct Reading {
  std::vector<int> tokens;
  std::int64_t first_wanted;
};

template <class Requested>
std::vector<int> shared_lengths_of(std::span<const Requested> requests) {
  std::vector<std::span<const int>> prompts;
  for (const Requested& request : requests)
    prompts.emplace_back(request.prompt);
  return shared_lengths(prompts);
}

// The CPU's own where it computes, else that of any device.
std::unique_ptr<SpeakingModel> speaking_model(const Llama& model, const EngineOptions& options) {
  if (!has_own_code(model.embedding)) return device_model(model, options.max_sequences);
  auto packed = std::make_unique<PackedModel>(options.dtype);
  packed->load(model);
  return packed;
}

std::unique_ptr<SpeakingModel> speaking_model(LlamaReader reader, const EngineOptions& options) {
  if (!options.place.is_cpu() || is_plain_arithmetic())
    return device_model(reader.all(options.place), options.max_sequences);
  auto packed = std::make_unique<PackedModel>(options.dtype);
  packed->load(std::move(reader));
  return packed;
}

}  // namespace

Precision engine_precision(const std::string& dtype) {
  if (dtype == "float32") return Precision::kFloat32;
  if (dtype == "bfloat16") return Precision::kBfloat16;
  if (dtype == "int8" && !has_int8_products())
    throw InputError(
        "engine.dtype: int8 needs a CPU with AVX512-VNNI; accepted here: auto, float32, bfloat16");
  if (dtype == "int8") return Precision::kInt8;
  if (dtype != "auto")
    throw InputError("engine.dtype: " + dtype + "; accepted: auto, float32, bfloat16, int8");
  return Precision::kAuto;
}

bool trains_in_bfloat16(const std::string& dtype) {
  return dtype == "bfloat16" || (dtype != "float32" && has_bfloat16_products());
}

std::string engine_arithmetic(const std::string& dtype, const Place& place) {
  if (!place.is_cpu())
    return std::string(place.bfloat16 ? "bfloat16" : "float32") + " (" + device_name(place) + ")";
  const auto named = [](Precision p) {
    const char* name = p == Precision::kFloat32  ? "float32"
                       : p == Precision::kInt8   ? "int8"
                       : has_bfloat16_products() ? "bfloat16"
                                                 : "bfloat16 weights, float32 products";
    return std::string(name) + " (" + kernel_name(p) + ")";
  };
  const Precision precision = engine_precision(dtype),
                  otherwise = has_bfloat16_products() ? Precision::kBfloat16 : Precision::kFloat32;
  const std::string products =
      precision != Precision::kAuto ? named(precision)
      : prefers_int8() ? named(Precision::kInt8) + " where it keeps the weights, else " + named(otherwise)
                       : named(otherwise);
  const char* const attention =
      precision != Precision::kFloat32 && has_bfloat16_products() ? "bfloat16" : "float32";
  return products + "; attention in " + attention + "; training in " +
         (trains_in_bfloat16(dtype) ? "bfloat16" : "float32");
}

struct Engine::Impl {
  explicit Impl(EngineOptions o) : options(std::move(o)) {}

  EngineOptions options;
  std::unique_ptr<SpeakingModel> model;
  std::list<std::shared_ptr<Prefix>> prefixes;  // most recently used first
  Counts counts;

  void check_token(int token) const;
  std::shared_ptr<Prefix> shared_prefix(const std::vector<int>& prompt, int length);
  std::unique_ptr<Sequence> start(std::size_t index, const std::vector<int>& prompt, int shared,
                                  std::int64_t more);
  template <class List, class Tokens, class Take>
  void read(std::span<const int> shared, const List& list, const Tokens& tokens, const Take& take,
            const std::function<void(std::size_t)>& progress);
};

void Engine::Impl::check_token(int token) const {
  if (token < 0 || token >= model->config().vocabulary)
    throw Bug("token " + std::to_string(token) + " outside the vocabulary");
}

// The cached prefix, computed now when it is new. They stay for the calls to come.
std::shared_ptr<Prefix> Engine::Impl::shared_prefix(const std::vector<int>& prompt, int length) {
  const std::int64_t n = length;
  for (auto it = prefixes.begin(); it != prefixes.end(); ++it) {
    if (static_cast<std::int64_t>((*it)->tokens.size()) == n &&
        std::equal((*it)->tokens.begin(), (*it)->tokens.end(), prompt.begin())) {
      prefixes.splice(prefixes.begin(), prefixes, it);
      counts.shared_tokens += n;
      return prefixes.front();
    }
  }
  Sequence s;
  s.tokens.assign(prompt.begin(), prompt.begin() + n);
  model->open(s, n);
  while (s.computed < n) {
    std::vector<Row> rows;
    for (; s.computed < n && static_cast<std::int64_t>(rows.size()) < model->max_rows(); ++s.computed)
      rows.push_back({&s, s.computed});
    model->forward(rows, {});
    if (stop_requested()) throw Stopped();
  }
  counts.prompt_tokens += n;
  prefixes.push_front(std::make_shared<Prefix>(Prefix{s.tokens, std::move(s.cache)}));
  if (prefixes.size() > kKeptPrefixes) prefixes.pop_back();
  return prefixes.front();
}

// `more`: positions to leave room for behind the prompt.
std::unique_ptr<Sequence> Engine::Impl::start(std::size_t index, const std::vector<int>& prompt, int shared,
                                              std::int64_t more) {
  if (prompt.empty()) throw Bug("a request with an empty prompt");
  for (int token : prompt)
    check_token(token);
  auto s = std::make_unique<Sequence>();
  s->index = index;
  s->tokens = prompt;
  s->prompt = static_cast<std::int64_t>(prompt.size());
  s->prefix = shared > 0 ? shared_prefix(prompt, shared) : nullptr;
  model->open(*s, s->prompt + more);
  if (s->prefix) s->computed = static_cast<std::int64_t>(s->prefix->tokens.size());
  return s;
}

Engine::Engine(const Llama& model, EngineOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {
  impl_->model = speaking_model(model, impl_->options);
}

Engine::Engine(LlamaReader reader, EngineOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {
  impl_->model = speaking_model(std::move(reader), impl_->options);
}

Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;

void Engine::refresh(const Llama& model, std::int64_t unchanged) {
  impl_->prefixes.clear();
  impl_->model->refresh(model, unchanged);
}

Engine::Counts Engine::counts() const {
  return impl_->counts;
}

std::int64_t Engine::context() const {
  return impl_->model->config().context;
}

std::string Engine::arithmetic() const {
  return engine_arithmetic(impl_->options.dtype, impl_->options.place);
}

void Engine::generate(std::span<const Request> requests,
                      const std::function<void(std::size_t, Completion)>& done) {
  struct Running {
    std::unique_ptr<Sequence> sequence;
    Random random;
    Completion completion;
  };
  Impl& m = *impl_;
  const std::vector<int> shared = shared_lengths_of(requests);
  std::vector<Running> running;
  std::size_t next = 0;
  while (next < requests.size() || !running.empty()) {
    if (stop_requested()) throw Stopped();
    while (next < requests.size() && static_cast<long>(running.size()) < m.options.max_sequences) {
      const Request& request = requests[next];
      const std::int64_t room = m.model->config().context - static_cast<std::int64_t>(request.prompt.size());
      if (room <= 0 || request.max_new_tokens <= 0) {
        done(next++, Completion{.finish = room <= 0 ? Finish::kContext : Finish::kLength});
        continue;
      }
      Running one;
      one.sequence =
          m.start(next, request.prompt, shared[next], std::min<std::int64_t>(request.max_new_tokens, room));
      one.random = request.random;
      m.counts.prompt_tokens += one.sequence->prompt - one.sequence->computed;
      running.push_back(std::move(one));
      ++next;
    }
    if (running.empty()) continue;

    const std::int64_t most = m.model->max_rows();
    // Sequences that decode come first, one row each; prompts fill the rest of the pass.
    std::vector<Row> rows;
    std::vector<std::int64_t> sampled;    // rows whose logits are wanted
    std::vector<std::size_t> sampled_of;  // and the running sequence of each
    for (int decoding = 1; decoding >= 0; --decoding) {
      for (std::size_t i = 0; i < running.size(); ++i) {
        Sequence& s = *running[i].sequence;
        const std::int64_t length = static_cast<std::int64_t>(s.tokens.size());
        if ((length > s.prompt) != (decoding == 1)) continue;
        for (; s.computed < length && static_cast<std::int64_t>(rows.size()) < most; ++s.computed) {
          if (s.computed == length - 1)
            sampled.push_back(static_cast<std::int64_t>(rows.size())), sampled_of.push_back(i);
          rows.push_back({&s, s.computed, decoding == 1});
        }
      }
    }
    m.model->forward(rows, sampled);
    std::vector<Drawing> drawings;
    for (std::size_t i = 0; i < sampled.size(); ++i) {
      Running& one = running[sampled_of[i]];
      const Request& request = requests[one.sequence->index];
      drawings.push_back({static_cast<std::int64_t>(i), request.temperature, request.top_p, &one.random});
    }
    std::vector<Sampled> drawn(drawings.size());
    m.model->draw(drawings, drawn);
    std::vector<std::size_t> finished;
    for (std::size_t i = 0; i < drawn.size(); ++i) {
      Running& one = running[sampled_of[i]];
      const Request& request = requests[one.sequence->index];
      one.completion.tokens.push_back(drawn[i].token);
      one.completion.log_probabilities.push_back(drawn[i].log_probability);
      one.sequence->tokens.push_back(drawn[i].token);
      ++m.counts.generated_tokens;
      const bool stopped =
          std::find(request.stops.begin(), request.stops.end(), drawn[i].token) != request.stops.end();
      const bool full = static_cast<std::int64_t>(one.sequence->tokens.size()) >= m.model->config().context;
      if (!stopped && !full && static_cast<int>(one.completion.tokens.size()) < request.max_new_tokens)
        continue;
      one.completion.finish = stopped ? Finish::kStop
                              : static_cast<int>(one.completion.tokens.size()) >= request.max_new_tokens
                                  ? Finish::kLength
                                  : Finish::kContext;
      finished.push_back(sampled_of[i]);
    }
    std::sort(finished.begin(), finished.end());
    for (std::size_t i : finished)
      done(running[i].sequence->index, std::move(running[i].completion));
    for (auto it = finished.rbegin(); it != finished.rend(); ++it)
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(*it));
  }
}

// Reads a token list for each of `shared`, its tokens of a shared prefix, in passes that are always full, and
// asks for log-probabilities behind each position from `first_wanted` on. list(index) gives what to read;
// tokens(index, position) those that are asked for there; take(index, position, found) gets them.
template <class List, class Tokens, class Take>
void Engine::Impl::read(std::span<const int> shared, const List& list, const Tokens& tokens, const Take& take,
                        const std::function<void(std::size_t)>& progress) {
  std::unique_ptr<Sequence> open;  // begun in an earlier pass
  const std::size_t count = shared.size(), most = static_cast<std::size_t>(model->max_rows());
  std::size_t next = 0, finished = 0;
  while (finished < count) {
    if (stop_requested()) throw Stopped();
    std::vector<Row> rows;
    std::vector<std::int64_t> wanted;
    std::vector<std::unique_ptr<Sequence>> complete;
    while (rows.size() < most && (open || next < count)) {
      if (!open) {
        const Reading reading = list(next);
        if (static_cast<std::int64_t>(reading.tokens.size()) > model->config().context)
          throw InputError("a text of " + std::to_string(reading.tokens.size()) +
                           " tokens exceeds the model's context of " +
                           std::to_string(model->config().context));
        open = start(next, reading.tokens, shared[next], 0);
        ++next;
        open->prompt = reading.first_wanted + 1;
        counts.prompt_tokens += static_cast<std::int64_t>(reading.tokens.size()) - open->computed;
      }
      const std::int64_t length = static_cast<std::int64_t>(open->tokens.size());
      for (; open->computed < length && rows.size() < most; ++open->computed) {
        if (open->computed + 1 >= open->prompt) wanted.push_back(static_cast<std::int64_t>(rows.size()));
        rows.push_back({open.get(), open->computed});
      }
      if (open->computed == length) complete.push_back(std::move(open));
    }
    model->forward(rows, wanted);
    std::vector<Asked> asked;
    std::vector<std::size_t> begins{0};
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const Row& row = rows[static_cast<std::size_t>(wanted[i])];
      for (int token : tokens(row.sequence->index, row.position))
        asked.push_back({static_cast<std::int64_t>(i), token});
      begins.push_back(asked.size());
    }
    std::vector<float> found(asked.size());
    model->log_probabilities(asked, found);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const Row& row = rows[static_cast<std::size_t>(wanted[i])];
      take(row.sequence->index, row.position,
           std::span<const float>(found).subspan(begins[i], begins[i + 1] - begins[i]));
    }
    finished += complete.size();
    if (progress && !complete.empty()) progress(finished);
  }
}

std::vector<std::vector<float>> Engine::score(std::span<const ScoreRequest> requests,
                                              const std::function<void(std::size_t)>& progress) {
  Impl& m = *impl_;
  std::vector<std::vector<float>> results(requests.size());
  const auto list = [&](std::size_t i) {
    const ScoreRequest& request = requests[i];
    if (request.continuation.empty() || request.prompt.empty())
      throw Bug("a score request without a prompt or a continuation");
    for (int token : request.continuation)
      m.check_token(token);
    results[i].resize(request.continuation.size());
    Reading reading{request.prompt, static_cast<std::int64_t>(request.prompt.size()) - 1};
    reading.tokens.insert(reading.tokens.end(), request.continuation.begin(), request.continuation.end() - 1);
    return reading;
  };
  const auto place = [&](std::size_t i, std::int64_t position) {
    return static_cast<std::size_t>(position) + 1 - requests[i].prompt.size();
  };
  const auto tokens = [&](std::size_t i, std::int64_t position) {
    return std::span<const int>(requests[i].continuation).subspan(place(i, position), 1);
  };
  const auto take = [&](std::size_t i, std::int64_t position, std::span<const float> found) {
    results[i][place(i, position)] = found[0];
  };
  m.read(shared_lengths_of(requests), list, tokens, take, progress);
  return results;
}

std::vector<std::vector<float>> Engine::choose(std::span<const ChoiceRequest> requests,
                                               const std::function<void(std::size_t)>& progress) {
  Impl& m = *impl_;
  std::vector<std::vector<float>> results(requests.size());
  const auto list = [&](std::size_t i) {
    if (requests[i].prompt.empty()) throw Bug("a choice request without a prompt");
    for (int token : requests[i].options)
      m.check_token(token);
    return Reading{requests[i].prompt, static_cast<std::int64_t>(requests[i].prompt.size()) - 1};
  };
  const auto tokens = [&](std::size_t i, std::int64_t) { return std::span<const int>(requests[i].options); };
  const auto take = [&](std::size_t i, std::int64_t, std::span<const float> found) {
    results[i].assign(found.begin(), found.end());
  };
  m.read(shared_lengths_of(requests), list, tokens, take, progress);
  return results;
}

}  // namespace cai
