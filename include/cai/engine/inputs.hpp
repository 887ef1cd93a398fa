// The left side of the engine's matrix products.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "cai/base/bfloat16.hpp"

namespace cai {

/// Rows as a PackedMatrix takes them: float32, or where it multiplies in tiles (PackedMatrix::takes_tiles)
/// rounded to bfloat16 and laid out for those, [rows / 16, in / 32, 16, 32], zeros where `in` ends. What
/// makes a row puts it there, while it is near.
class Inputs {
 public:
  /// Room for `rows` rows of `in`; what was there is gone.
  void start(std::int64_t rows, std::int64_t in, bool in_tiles);

  bool in_tiles() const { return in_tiles_; }
  std::int64_t in() const { return in_; }

  /// All rows: tiles() if in_tiles(), else floats().
  const float* floats() const { return floats_.data(); }
  float* floats() { return floats_.data(); }
  const Pair* tiles() const { return words_.get(); }

  /// Where row r may be made before it is put: its place, or `scratch`.
  float* room(std::int64_t r, std::vector<float>& scratch);

  /// Row r becomes x, which may be its room. Threads may put different rows at once.
  void put(std::int64_t r, const float* x);

  /// Row `to` becomes row `from`.
  void copy_row(std::int64_t from, std::int64_t to);

  /// In tiles: where row r has columns i and i + 1, i even; those up to the next multiple of 32 lie behind.
  Pair* words(std::int64_t r, std::int64_t i) { return words_.get() + word_of(r, i); }

 private:
  struct Free {
    void operator()(std::uint32_t* p) const { ::operator delete[](p, std::align_val_t{64}); }
  };  // whole cache lines
  std::int64_t word_of(std::int64_t r, std::int64_t i) const;

  bool in_tiles_ = false;
  std::int64_t in_ = 0, blocks_ = 0, words_room_ = 0;
  std::vector<float> floats_;
  std::unique_ptr<std::uint32_t[], Free> words_;
};

}  // namespace cai
