#include "cai/engine/state_reader.hpp"

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/stop.hpp"
#include "cai/engine/packed_model.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/llama.hpp"

namespace cai {

struct StateReader::Impl {
  explicit Impl(const std::string& dtype, std::vector<std::int64_t> at)
      : model(dtype), layers(std::move(at)) {}

  PackedModel model;
  std::vector<std::int64_t> layers;

  void check_layers() const;
  Sequence start(std::size_t index, const Text& text);
};

void StateReader::Impl::check_layers() const {
  std::int64_t before = 0;
  for (const std::int64_t layer : layers) {
    if (layer <= before || layer > model.config().layers)
      throw Bug("layer " + std::to_string(layer) + " of a model of " + std::to_string(model.config().layers));
    before = layer;
  }
  if (layers.empty()) throw Bug("states of no layer");
}

Sequence StateReader::Impl::start(std::size_t index, const Text& text) {
  const std::int64_t length = static_cast<std::int64_t>(text.tokens.size());
  if (length == 0 || length > model.config().context)
    throw Bug("a text of " + std::to_string(length) + " tokens");
  for (const int token : text.tokens)
    if (token < 0 || token >= model.config().vocabulary)
      throw Bug("token " + std::to_string(token) + " outside the vocabulary");
  Sequence s;
  s.index = index;
  s.tokens = text.tokens;
  model.open(s, length);
  return s;
}

StateReader::StateReader(LlamaReader reader, const std::string& dtype, std::vector<std::int64_t> layers)
    : impl_(std::make_unique<Impl>(dtype, std::move(layers))) {
  impl_->model.load(std::move(reader));
  impl_->check_layers();
}

StateReader::StateReader(const Llama& model, const std::string& dtype, std::vector<std::int64_t> layers)
    : impl_(std::make_unique<Impl>(dtype, std::move(layers))) {
  impl_->model.load(model);
  impl_->check_layers();
}

StateReader::~StateReader() = default;
StateReader::StateReader(StateReader&&) noexcept = default;

std::int64_t StateReader::context() const {
  return impl_->model.config().context;
}

std::int64_t StateReader::width() const {
  return impl_->model.config().width * static_cast<std::int64_t>(impl_->layers.size());
}

void StateReader::read(std::span<const Text> texts,
                       const std::function<void(std::size_t, std::span<const float>)>& visit) {
  // Passes are always full: a text begins where the one before ends, and may go on in the next pass.
  struct Open {
    Sequence sequence;
    std::vector<float> states;  // of its positions from `first` on, as far as they were read
  };
  Impl& m = *impl_;
  const std::size_t width = static_cast<std::size_t>(this->width());
  std::vector<std::unique_ptr<Open>>
      open;  // those that the pass touches, in order; the last may be unfinished
  std::vector<float> states;
  std::size_t next = 0;
  while (next < texts.size() || !open.empty()) {
    if (stop_requested()) throw Stopped();
    std::vector<Row> rows;
    std::vector<std::size_t> of;  // in `open`, of each row
    for (std::size_t i = 0; static_cast<std::int64_t>(rows.size()) < kMaxRows; ++i) {
      if (i == open.size()) {
        if (next == texts.size()) break;
        open.push_back(std::make_unique<Open>(Open{m.start(next, texts[next]), {}}));
        ++next;
      }
      Sequence& s = open[i]->sequence;
      const std::int64_t length = static_cast<std::int64_t>(s.tokens.size());
      for (; s.computed < length && static_cast<std::int64_t>(rows.size()) < kMaxRows; ++s.computed)
        rows.push_back({&s, s.computed}), of.push_back(i);
    }
    if (states.size() < rows.size() * width) states.resize(rows.size() * width);
    m.model.states(rows, m.layers, states.data());
    for (std::size_t r = 0; r < rows.size(); ++r) {
      Open& one = *open[of[r]];
      if (rows[r].position < texts[one.sequence.index].first) continue;
      const float* const from = states.data() + r * width;
      one.states.insert(one.states.end(), from, from + width);
    }
    while (!open.empty() && open.front()->sequence.computed ==
                                static_cast<std::int64_t>(open.front()->sequence.tokens.size())) {
      visit(open.front()->sequence.index, open.front()->states);
      open.erase(open.begin());
    }
  }
}

}  // namespace cai
