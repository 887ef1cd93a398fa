#include "cai/engine/device_model.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "cai/base/error.hpp"
#include "cai/engine/device_sampling.hpp"
#include "cai/model/any_layer.hpp"
#include "cai/model/half_products.hpp"
#include "cai/model/rotary.hpp"
#include "cai/model/tensors.hpp"
#include "cai/model/varlen.hpp"

namespace cai {
namespace {

constexpr std::int64_t kHeadRows =
    64;  // whose logits are made at a time where log-probabilities are asked for

// The slots that no text holds.
struct FreeSlots {
  std::vector<std::int64_t> numbers;
};

struct Slot : SequenceCache {
  Slot(std::shared_ptr<FreeSlots> f, std::int64_t n) : free(std::move(f)), number(n) {}
  ~Slot() override { free->numbers.push_back(number); }
  std::shared_ptr<FreeSlots> free;
  std::int64_t number;
};

std::int64_t slot_of(const std::unique_ptr<SequenceCache>& cache) {
  return static_cast<const Slot&>(*cache).number;
}

// In a pass no two rows write to one place, so that it does not matter in which order they do: what torch
// would do to make sure of an order takes ten times as long as the write.
class AnyOrder {
 public:
  AnyOrder() : before_(at::globalContext().deterministicAlgorithms()) {
    at::globalContext().setDeterministicAlgorithms(false, false);
  }
  ~AnyOrder() { at::globalContext().setDeterministicAlgorithms(before_, false); }

 private:
  bool before_;
};

// Rows of one sequence in a pass.
struct Run {
  std::int64_t first, length, slot, end;  // rows from `first` on; the last of them is at position end - 1
};

// A pass on its way to the device: as many rows as it always has, the last of them idle.
struct Pass {
  std::vector<std::int64_t> tokens, positions, places;  // places: in the cache, [slots * capacity]
  std::vector<Run> runs;
  std::int64_t busy = 0;  // rows that are not idle
};

class DeviceModel : public SpeakingModel {
 public:
  DeviceModel(const Llama& model, int max_sequences) : model_(model), drawn_rows_(max_sequences) {}

  const ModelConfig& config() const override { return model_.config; }
  std::int64_t max_rows() const override { return kReadRows + drawn_rows_; }
  void refresh(const Llama& model, std::int64_t) override { model_ = model; }
  void open(Sequence& s, std::int64_t positions) override;
  void forward(std::span<const Row> rows, std::span<const std::int64_t> wanted) override;
  void draw(std::span<const Drawing> drawings, std::span<Sampled> drawn) override;
  void log_probabilities(std::span<const Asked> asked, std::span<float> found) override;

 private:
  std::int64_t slots() const { return cache_.defined() ? cache_.size(2) : 0; }
  std::int64_t capacity() const { return cache_.defined() ? cache_.size(3) : 0; }
  void make_room(std::int64_t slots, std::int64_t capacity);
  Pass pass_of(std::span<const Row> rows, std::int64_t size) const;
  at::Tensor run(const Pass& pass);
  at::Tensor attend(std::int64_t layer, const Pass& pass, const VarlenLayout& offsets,
                    const at::Tensor& used_keys, const at::Tensor& places, const at::Tensor& q,
                    const at::Tensor& k, const at::Tensor& v);
  at::Tensor logits_of(const at::Tensor& wanted, std::int64_t rows) const;

  Llama model_;
  std::int64_t drawn_rows_;
  at::Tensor
      cache_;  // [layers, keys and values, slots, capacity, kv_heads, head_width]; slot 0 is of idle rows
  std::shared_ptr<FreeSlots> free_ = std::make_shared<FreeSlots>();
  at::Tensor wanted_;  // [wanted rows, width] what the head is multiplied with
};

void DeviceModel::make_room(std::int64_t slots, std::int64_t capacity) {
  const std::int64_t had = this->slots();
  const auto options = model_.embedding.options().dtype(model_.place.bfloat16 ? at::kBFloat16 : at::kFloat);
  const ModelConfig& c = model_.config;
  const at::Tensor larger =
      at::zeros({c.layers, 2, slots, capacity, c.kv_heads, c.head_width}, options.requires_grad(false));
  if (had > 0) larger.narrow(2, 0, had).narrow(3, 0, this->capacity()).copy_(cache_);
  cache_ = larger;
  for (std::int64_t i = slots - 1; i >= std::max<std::int64_t>(1, had); --i)
    free_->numbers.push_back(i);
}

void DeviceModel::open(Sequence& s, std::int64_t positions) {
  const at::NoGradGuard no_gradients;
  constexpr std::int64_t kStep = 256;
  const std::int64_t need = (positions + kStep - 1) / kStep * kStep,
                     most = drawn_rows_ + 16;  // texts that are read come on top
  if (!cache_.defined())
    make_room(std::min<std::int64_t>(16, most), std::max(need, std::max(kReadRows, drawn_rows_)));
  if (free_->numbers.empty()) {
    const std::int64_t twice = 2 * slots();
    make_room(slots() < most ? std::min(twice, most) : twice, std::max(need, capacity()));
  }
  if (need > capacity()) make_room(slots(), need);
  s.cache = std::make_unique<Slot>(free_, free_->numbers.back());
  free_->numbers.pop_back();
  if (!s.prefix) return;
  const auto known = static_cast<std::int64_t>(s.prefix->tokens.size());
  cache_.select(2, slot_of(s.cache))
      .narrow(2, 0, known)
      .copy_(cache_.select(2, slot_of(s.prefix->cache)).narrow(2, 0, known));
}

Pass DeviceModel::pass_of(std::span<const Row> rows, std::int64_t size) const {
  Pass p;
  p.busy = static_cast<std::int64_t>(rows.size());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const Row& row = rows[r];
    const std::int64_t slot = slot_of(row.sequence->cache);
    p.tokens.push_back(row.sequence->tokens[static_cast<std::size_t>(row.position)]);
    p.positions.push_back(row.position);
    p.places.push_back(slot * capacity() + row.position);
    if (r > 0 && rows[r - 1].sequence == row.sequence)
      ++p.runs.back().length, ++p.runs.back().end;
    else
      p.runs.push_back({static_cast<std::int64_t>(r), 1, slot, row.position + 1});
  }
  // Idle rows: of drawn ones each alone, as those are; of read ones one text.
  for (std::int64_t i = p.busy; i < size; ++i) {
    const std::int64_t position = i - p.busy;
    p.tokens.push_back(0), p.positions.push_back(position), p.places.push_back(position);
    if (rows.front().is_drawn || position == 0)
      p.runs.push_back({i, 1, 0, position + 1});
    else
      ++p.runs.back().length, ++p.runs.back().end;
  }
  return p;
}

at::Tensor DeviceModel::attend(std::int64_t layer, const Pass& pass, const VarlenLayout& offsets,
                               const at::Tensor& used_keys, const at::Tensor& places, const at::Tensor& q,
                               const at::Tensor& k, const at::Tensor& v) {
  const ModelConfig& c = model_.config;
  const AttentionRule rule{c.window_of(layer), c.attention_scale, c.attention_cap};
  at::Tensor keys = cache_.select(0, layer).select(0, 0).flatten(0, 1),
             values = cache_.select(0, layer).select(0, 1).flatten(0, 1);  // views: [places, kv_heads, width]
  keys.index_copy_(0, places, k.to(keys.scalar_type()));
  values.index_copy_(0, places, v.to(values.scalar_type()));
  const std::int64_t row = c.heads * c.head_width;
  if (offsets.rounds && flash_attends(q, rule))
    return flash_attention(q.to(at::kBFloat16), keys, values, offsets, rule, used_keys)
        .to(at::kFloat)
        .reshape({q.size(0), row});
  // On the CPU, where tests compute so, row by row: a product's bits depend on its number of rows.
  std::vector<at::Tensor> parts;
  for (const Run& run : pass.runs) {
    if (run.first >= pass.busy) break;
    const std::int64_t step = q.is_cpu() ? 1 : run.length;
    for (std::int64_t i = 0; i < run.length; i += step) {
      const std::int64_t seen = run.end - run.length + i + step;
      const at::Tensor mine = keys.narrow(0, run.slot * capacity(), seen).to(at::kFloat),
                       theirs = values.narrow(0, run.slot * capacity(), seen).to(at::kFloat);
      parts.push_back(attend_segment(q.narrow(0, run.first + i, step), mine, theirs, rule));
    }
  }
  parts.push_back(at::zeros({q.size(0) - pass.busy, c.heads, c.head_width}, q.options()));
  return at::cat(parts).reshape({q.size(0), row});
}

// The last layer's states of the pass' rows.
at::Tensor DeviceModel::run(const Pass& pass) {
  const ModelConfig& c = model_.config;
  const at::Device device = model_.device();
  const auto rows = static_cast<std::int64_t>(pass.tokens.size());
  std::vector<std::int64_t> numbers = pass.tokens;  // one copy to the device for all
  numbers.insert(numbers.end(), pass.positions.begin(), pass.positions.end());
  numbers.insert(numbers.end(), pass.places.begin(), pass.places.end());
  VarlenLayout offsets;
  offsets.rounds = model_.place.bfloat16, offsets.longest_keys = capacity();
  for (const Run& run : pass.runs) {
    numbers.push_back(run.first);
    offsets.longest_queries = std::max(offsets.longest_queries, run.length);
  }
  numbers.push_back(rows);
  for (const Run& run : pass.runs)
    numbers.push_back(run.slot * capacity());
  numbers.push_back(0);  // an end that nobody reads
  for (const Run& run : pass.runs)
    numbers.push_back(run.end);
  const at::Tensor all = on(device, numbers), narrow = all.to(at::kInt);
  const auto runs = static_cast<std::int64_t>(pass.runs.size());
  const at::Tensor tokens = all.narrow(0, 0, rows), positions = all.narrow(0, rows, rows),
                   places = all.narrow(0, 2 * rows, rows),
                   used_keys = narrow.narrow(0, 3 * rows + 2 * runs + 2, runs);
  offsets.query_offsets = narrow.narrow(0, 3 * rows, runs + 1);
  offsets.key_offsets = narrow.narrow(0, 3 * rows + runs + 1, runs + 1);

  std::map<std::pair<bool, bool>, Rotation> rotations;  // by kinds of layers
  at::Tensor x = embed(model_, tokens);
  for (std::int64_t l = 0; l < c.layers; ++l) {
    const auto [at, is_new] = rotations.try_emplace({c.rotates(l), c.is_windowed(l)});
    if (is_new) at->second = rotation_of(rotary_frequencies(c, l), positions);
    x = any_layer(model_, model_.layers[static_cast<std::size_t>(l)], x,
                  {at->second.cosines, at->second.sines, nullptr, {}},
                  [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
                    return attend(l, pass, offsets, used_keys, places, q, k, v);
                  });
  }
  return x;
}

void DeviceModel::forward(std::span<const Row> rows, std::span<const std::int64_t> wanted) {
  const at::NoGradGuard no_gradients;
  const AnyOrder any_order;
  std::vector<std::int64_t> place_of(rows.size());  // of each row among those of all passes
  std::vector<at::Tensor> states;
  std::int64_t done = 0;
  for (std::size_t from = 0; from < rows.size();) {
    const bool are_drawn = rows[from].is_drawn;
    const std::int64_t size = are_drawn ? drawn_rows_ : kReadRows;
    std::size_t to = from;
    while (to < rows.size() && rows[to].is_drawn == are_drawn && static_cast<std::int64_t>(to - from) < size)
      place_of[to] = done + static_cast<std::int64_t>(to - from), ++to;
    states.push_back(run(pass_of(rows.subspan(from, to - from), size)));
    done += size, from = to;
  }
  if (wanted.empty()) return;
  std::vector<std::int64_t> places;
  for (const std::int64_t w : wanted)
    places.push_back(place_of[static_cast<std::size_t>(w)]);
  wanted_ = head_states(model_, at::cat(states).index_select(0, on(model_.device(), places)));
}

// Logits [rows, vocabulary] of final states, [rows or fewer, width]; of the missing ones something.
at::Tensor DeviceModel::logits_of(const at::Tensor& states, std::int64_t rows) const {
  const at::Tensor x = at::constant_pad_nd(states, {0, 0, 0, rows - states.size(0)}), &head = model_.head;
  const double cap = model_.config.logit_cap;
  at::Tensor y = model_.place.bfloat16
                     ? float_rows(product(x.to(at::kBFloat16), model_.rounded->of({head}).t()), rows)
                     : at::mm(x, head.t());
  return cap > 0 ? y.div_(cap).tanh_().mul_(cap) : y;
}

void DeviceModel::draw(std::span<const Drawing> drawings, std::span<Sampled> drawn) {
  const at::NoGradGuard no_gradients;
  const AnyOrder any_order;
  for (std::size_t from = 0; from < drawings.size(); from += static_cast<std::size_t>(drawn_rows_)) {
    const std::size_t count = std::min(drawings.size() - from, static_cast<std::size_t>(drawn_rows_));
    const std::span<const Drawing> part = drawings.subspan(from, count);
    const at::Tensor logits =
        logits_of(wanted_.narrow(0, part.front().wanted, static_cast<std::int64_t>(count)), drawn_rows_);
    draw_on_device(logits, part, drawn.subspan(from, count));
  }
}

void DeviceModel::log_probabilities(std::span<const Asked> asked, std::span<float> found) {
  const at::NoGradGuard no_gradients;
  const AnyOrder any_order;
  std::vector<at::Tensor> parts;
  for (std::size_t from = 0; from < asked.size();) {
    const std::int64_t first = asked[from].wanted / kHeadRows * kHeadRows,
                       count = std::min(kHeadRows, wanted_.size(0) - first);
    const at::Tensor logits = logits_of(wanted_.narrow(0, first, count), kHeadRows);
    std::vector<std::int64_t> rows, places;
    for (; from < asked.size() && asked[from].wanted < first + kHeadRows; ++from) {
      rows.push_back(asked[from].wanted - first);
      places.push_back(rows.back() * logits.size(1) + asked[from].token);
    }
    parts.push_back(logits.flatten().index_select(0, on(logits.device(), places)) -
                    at::logsumexp(logits, 1).index_select(0, on(logits.device(), rows)));
  }
  if (parts.empty()) return;
  const at::Tensor all = at::cat(parts).cpu();
  std::copy_n(all.data_ptr<float>(), all.numel(), found.data());
}

}  // namespace

std::unique_ptr<SpeakingModel> device_model(const Llama& model, int max_sequences) {
  return std::make_unique<DeviceModel>(model, max_sequences);
}

}  // namespace cai
