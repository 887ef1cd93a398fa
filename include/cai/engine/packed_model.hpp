// A model on the CPU: its weights in the engine's order, and one pass of rows through them. No torch here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "cai/engine/attention.hpp"
#include "cai/engine/speaking_model.hpp"
#include "cai/model/config.hpp"

namespace cai {

class LlamaReader;

/// Rows of one pass through the layers, at most. Weights are read from memory once a pass: below about 64
/// rows that reading shows, and in tiles still at 192; far above this a pass takes long enough to delay the
/// sequences that decode.
constexpr std::int64_t kMaxRows = 384;

/// Keys and values of consecutive positions, for all layers: a block of `capacity` positions for each layer
/// and head, laid out as attend() reads them.
class KeyValues : public SequenceCache {
 public:
  KeyValues(const ModelConfig& c, Cached kind, std::int64_t capacity)
      : kv_heads_(c.kv_heads),
        blocks_(2 * c.layers * c.kv_heads),
        block_(cache_bytes(kind, capacity, c.head_width)),
        position_(cache_bytes(kind, kSplit, c.head_width) / kSplit),
        bytes_(new (kLine) std::byte[static_cast<std::size_t>(blocks_ * block_)]()) {}

  std::byte* keys_of(std::int64_t layer, std::int64_t head) {
    return bytes_.get() + 2 * (layer * kv_heads_ + head) * block_;
  }
  std::byte* values_of(std::int64_t layer, std::int64_t head) { return keys_of(layer, head) + block_; }

  /// Takes over what `other` has of the positions from `first` on, a multiple of kSplit, as those from 0 on:
  /// as many as it has and there is room for.
  void copy(KeyValues& other, std::int64_t first);

 private:
  static constexpr std::align_val_t kLine{64};  // a load of a whole cache line meets one
  struct Free {
    void operator()(std::byte* p) const { ::operator delete[](p, kLine); }
  };

  std::int64_t kv_heads_, blocks_, block_, position_;  // bytes of a block, and of a position in it
  std::unique_ptr<std::byte[], Free> bytes_;
};

/// Positions that are read in the prefix' cache; of those behind, up to the prefix' end, there is a copy:
/// caches are split where attend() allows it.
inline std::int64_t shared_positions(const Sequence& s) {
  return s.prefix ? static_cast<std::int64_t>(s.prefix->tokens.size()) / kSplit * kSplit : 0;
}

/// What an engine with products of `dtype` keeps a model's keys and values as. Throws InputError on an
/// unknown dtype.
Cached cached_of(const ModelConfig& config, const std::string& dtype);

class PackedModel : public SpeakingModel {
 public:
  explicit PackedModel(std::string dtype);  ///< as EngineOptions has it
  ~PackedModel() override;

  void load(const Llama& model);
  void load(LlamaReader reader);  ///< with no more than a layer in float32 at a time

  const ModelConfig& config() const override;
  std::int64_t max_rows() const override { return kMaxRows; }
  void refresh(const Llama& model, std::int64_t unchanged) override;
  void open(Sequence& sequence, std::int64_t positions) override;
  void forward(std::span<const Row> rows, std::span<const std::int64_t> wanted) override;
  void draw(std::span<const Drawing> drawings, std::span<Sampled> drawn) override;
  void log_probabilities(std::span<const Asked> asked, std::span<float> found) override;

  /// One pass of these rows through the layers up to the last of `layers` (numbers from 1, ascending): their
  /// residual states behind each of those, without a norm, [rows, layers, width] float32 into `out`.
  void states(std::span<const Row> rows, std::span<const std::int64_t> layers, float* out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cai
