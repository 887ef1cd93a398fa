// What attention in lanes (attention.cpp) and in tiles (attention_tiles.cpp) have in common.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "cai/base/bfloat16.hpp"
#include "cai/base/lanes.hpp"
#include "cai/engine/attention.hpp"

#define CAI_PAIRS __attribute__((target("avx512f,avx512bf16")))

namespace cai {

/// Products of `Queries` query heads with the lane of keys at `from` become scores, those inside the block;
/// `done` of each query are there.
template <int Queries>
[[gnu::always_inline]] inline void keep_scores(const WideLanes (&sums)[Queries], std::int64_t from,
                                               const AttentionBlock& block, float scale, std::int64_t total,
                                               float* scores, std::int64_t& done) {
  const std::int64_t first = std::max(from, block.first),
                     last = std::min(from + kKeyLane, block.first + block.count);
  for (int q = 0; q < Queries; ++q) {
    const WideLanes scaled = sums[q] * scale;
    if (last - first == kKeyLane)
      store_lanes(scores + q * total + done, scaled);
    else
      for (std::int64_t p = first; p < last; ++p)
        scores[q * total + done + p - first] = scaled[p - from];
  }
  done += last - first;
}

/// Weights of the positions [first, first + count) as pairs of positions, the first of a pair even; half a
/// pair is filled up with 0. Returns how many; they may take the place of the weights.
CAI_PAIRS inline std::int64_t pair_weights(const float* weights, std::int64_t first, std::int64_t count,
                                           Pair* pairs) {
  const std::int64_t odd = first % 2;
  if (odd) *pairs = pair_of(0.0f, *weights);
  to_pairs(weights + odd, count - odd, pairs + odd);
  return (first + count + 1) / 2 - first / 2;
}

inline std::int64_t positions_in(std::span<const AttentionBlock> blocks) {
  std::int64_t total = 0;
  for (const AttentionBlock& block : blocks)
    total += block.count;
  return total;
}

/// Calls body(row, the blocks as it sees them) for each row of the queries.
template <class Body>
void each_row(const Queries& queries, std::span<const AttentionBlock> blocks, const Body& body) {
  AttentionBlock trimmed[2];
  std::copy(blocks.begin(), blocks.end(), trimmed);
  trimmed[blocks.size() - 1].count -= queries.rows - 1;
  for (std::int64_t r = 0; r < queries.rows; ++r, ++trimmed[blocks.size() - 1].count)
    body(r, std::span<const AttentionBlock>(trimmed, blocks.size()));
}

}  // namespace cai
