#include "cai/engine/inputs.hpp"

// GCC 12 warns about its own undefined-value intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include <algorithm>
#include <cstring>

#include "cai/base/amx.hpp"

namespace cai {
namespace {

constexpr std::int64_t kColumns = 2 * kTilePairs;

}  // namespace

std::int64_t Inputs::word_of(std::int64_t r, std::int64_t i) const {
  return (r / kTileRows * blocks_ + i / kColumns) * kTileSize + r % kTileRows * kTilePairs + i % kColumns / 2;
}

void Inputs::start(std::int64_t rows, std::int64_t in, bool in_tiles) {
  in_tiles_ = in_tiles, in_ = in, blocks_ = (in + kColumns - 1) / kColumns;
  if (!in_tiles) {
    if (static_cast<std::int64_t>(floats_.size()) < rows * in)
      floats_.resize(static_cast<std::size_t>(rows * in));
    return;
  }
  const std::int64_t words = (rows + kTileRows - 1) / kTileRows * blocks_ * kTileSize;
  if (words_room_ < words)
    words_.reset(new (std::align_val_t{64}) std::uint32_t[static_cast<std::size_t>(words)]()),
        words_room_ = words;
  if (in % kColumns != 0)
    for (std::int64_t r = 0; r < rows; ++r)
      std::fill_n(this->words(r, in / kColumns * kColumns), kTilePairs, 0u);
}

float* Inputs::room(std::int64_t r, std::vector<float>& scratch) {
  if (!in_tiles_) return floats_.data() + r * in_;
  scratch.resize(static_cast<std::size_t>(in_));
  return scratch.data();
}

void Inputs::put(std::int64_t r, const float* x) {
  if (!in_tiles_) {
    float* const to = floats_.data() + r * in_;
    if (to != x) std::copy_n(x, in_, to);
    return;
  }
  Pair* to = words(r, 0);
  std::int64_t i = 0;
  for (; i + kColumns <= in_; i += kColumns, to += kTileSize)
    to_pairs(x + i, kColumns, to);
  if (i == in_) return;
  float last[kColumns] = {};
  std::memcpy(last, x + i, static_cast<std::size_t>(in_ - i) * sizeof(float));
  to_pairs(last, kColumns, to);
}

void Inputs::copy_row(std::int64_t from, std::int64_t to) {
  if (!in_tiles_)
    std::copy_n(floats_.data() + from * in_, in_, floats_.data() + to * in_);
  else
    for (std::int64_t i = 0; i < in_; i += kColumns)
      std::copy_n(words(from, i), kTilePairs, words(to, i));
}

}  // namespace cai
