#include "cai/engine/attention_tiles.hpp"

// GCC 12 warns about its own undefined-value intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cai/base/amx.hpp"
#include "cai/base/bfloat16.hpp"
#include "cai/base/lanes.hpp"
#include "cai/engine/attention_parts.hpp"
#include "cai/engine/inputs.hpp"
#include "cai/engine/kernels.hpp"

namespace cai {
namespace {

static_assert(kQueries == kTileRows);

// As weights_of, by exp_of_power().
CAI_PAIRS inline float rough_weights_of(float* scores, std::int64_t total) {
  const auto rest = static_cast<__mmask16>((1u << total % 16) - 1);
  const std::int64_t whole = total / 16 * 16;
  const __m512 none = _mm512_set1_ps(-INFINITY);
  __m512 most = _mm512_mask_loadu_ps(none, rest, scores + whole), sum = _mm512_setzero_ps();
  for (std::int64_t k = 0; k < whole; k += 16)
    most = _mm512_max_ps(most, _mm512_loadu_ps(scores + k));
  const __m512 power = _mm512_set1_ps(kPowers), shift = _mm512_set1_ps(-kPowers * _mm512_reduce_max_ps(most));
  for (std::int64_t k = 0; k < whole; k += 16) {
    const __m512 e = exp_of_power(_mm512_fmadd_ps(_mm512_loadu_ps(scores + k), power, shift));
    sum = _mm512_add_ps(sum, e);
    _mm512_storeu_ps(scores + k, e);
  }
  const __m512 e = _mm512_maskz_mov_ps(
      rest, exp_of_power(_mm512_fmadd_ps(_mm512_maskz_loadu_ps(rest, scores + whole), power, shift)));
  _mm512_mask_storeu_ps(scores + whole, rest, e);
  return 1.0f / _mm512_reduce_add_ps(_mm512_add_ps(sum, e));
}

// As attend_floats, of pairs in tiles: up to kTileRows heads of rows, `width` a multiple of 64. A tile's
// products are summed before they are added, so where tiles of values begin matters: always at a multiple of
// kSplit.
template <class Out>
CAI_PAIRS void attend_tiles(const Queries& queries, std::span<const AttentionBlock> blocks,
                            std::int64_t width, float scale, std::int64_t total, float* scores,
                            const Out& out) {
  const std::int64_t half = width / 2, lane_size = kKeyLane * half, count = queries.rows * queries.heads;
  const auto unseen = [&](std::int64_t q) {
    return queries.rows - 1 - q / queries.heads;
  };  // positions at the end
  const auto seen = [&](const AttentionBlock& block, std::int64_t q) {
    return block.count - (&block == &blocks.back() ? unseen(q) : 0);
  };
  alignas(64) Pair query[kTileRows * kWidestPairs / 2];
  for (std::int64_t r = 0; r < queries.rows; ++r)
    to_pairs(queries.first + r * queries.stride, queries.heads * width, query + r * queries.heads * half);
  const TileRegisters registers(count);
  alignas(64) float sums[4][kTileRows * kKeyLane];
  std::int64_t first = 0;
  for (const AttentionBlock& block : blocks) {
    const std::int64_t end = block.first + block.count;
    for (std::int64_t from = block.first / kKeyLane * kKeyLane; from < end; from += 4 * kKeyLane) {
      const std::int64_t lanes = std::min<std::int64_t>(4, (end - from + kKeyLane - 1) / kKeyLane);
      const Pair* lane = reinterpret_cast<const Pair*>(block.keys) + from * half;
      TileRegisters::clear<0, 1, 2, 3>();
      for (std::int64_t i = 0; i < half; i += kTilePairs, lane += kTileSize) {
        TileRegisters::load<4>(query + i, half);
        TileRegisters::load<6>(lane, 16);
        TileRegisters::multiply<0, 4, 6>();
        if (lanes == 1) continue;
        TileRegisters::load<7>(lane + lane_size, 16);
        TileRegisters::multiply<1, 4, 7>();
        if (lanes == 2) continue;
        TileRegisters::load<6>(lane + 2 * lane_size, 16);
        TileRegisters::multiply<2, 4, 6>();
        if (lanes == 3) continue;
        TileRegisters::load<7>(lane + 3 * lane_size, 16);
        TileRegisters::multiply<3, 4, 7>();
      }
      TileRegisters::store<0>(sums[0], 16);
      TileRegisters::store<1>(sums[1], 16);
      TileRegisters::store<2>(sums[2], 16);
      TileRegisters::store<3>(sums[3], 16);
      for (std::int64_t q = 0; q < count; ++q) {
        const AttentionBlock mine{block.keys, block.values, block.first, seen(block, q)};
        std::int64_t done = first + std::max(from, block.first) - block.first;
        for (std::int64_t l = 0; l < lanes; ++l) {
          const WideLanes one[1] = {load_lanes<WideLanes>(sums[l] + q * kKeyLane)};
          keep_scores(one, from + l * kKeyLane, mine, scale, total, scores + q * total, done);
        }
      }
    }
    first += block.count;
  }

  // The weights as pairs of positions, [count, pairs] a block, zeros around them.
  struct Values {
    const Pair* first;
    const Pair* weights;
    std::int64_t pairs;
  };
  Values values[2];
  thread_local std::vector<float> room;  // pairs, which may lie where floats were
  const std::int64_t needed = count * (total + 2 * kSplit * static_cast<std::int64_t>(blocks.size())) / 2;
  if (static_cast<std::int64_t>(room.size()) < needed) room.resize(static_cast<std::size_t>(needed));
  Pair* to = reinterpret_cast<Pair*>(room.data());
  float inverse[kTileRows];
  for (std::int64_t q = 0; q < count; ++q)
    inverse[q] = rough_weights_of(scores + q * total, total - unseen(q));
  first = 0;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const AttentionBlock& block = blocks[b];
    const std::int64_t begin = block.first / kSplit * kSplit, before = block.first - begin,
                       pairs = (before + block.count + kSplit - 1) / kSplit * kTilePairs;
    values[b] = {reinterpret_cast<const Pair*>(block.values) + begin / 2 * width, to, pairs};
    for (std::int64_t q = 0; q < count; ++q, to += pairs) {
      std::fill_n(to, before / 2, 0u);
      const std::int64_t made =
          before / 2 + pair_weights(scores + q * total + first, block.first, seen(block, q), to + before / 2);
      std::fill(to + made, to + pairs, 0u);
    }
    first += block.count;
  }
  for (std::int64_t i = 0; i < width; i += 64) {
    TileRegisters::clear<0, 1, 2, 3>();
    for (std::size_t b = 0; b < blocks.size(); ++b)
      for (std::int64_t p = 0; p < values[b].pairs; p += kTilePairs) {
        const Pair* const at = values[b].first + p * width + i;
        TileRegisters::load<4>(values[b].weights + p, values[b].pairs);
        TileRegisters::load<6>(at, width);
        TileRegisters::multiply<0, 4, 6>();
        TileRegisters::load<7>(at + 16, width);
        TileRegisters::multiply<1, 4, 7>();
        TileRegisters::load<6>(at + 32, width);
        TileRegisters::multiply<2, 4, 6>();
        TileRegisters::load<7>(at + 48, width);
        TileRegisters::multiply<3, 4, 7>();
      }
    TileRegisters::store<0>(sums[0], 16);
    TileRegisters::store<1>(sums[1], 16);
    TileRegisters::store<2>(sums[2], 16);
    TileRegisters::store<3>(sums[3], 16);
    for (std::int64_t q = 0; q < count; ++q)
      for (std::int64_t l = 0; l < 4; l += 2) {
        const WideLanes low = load_lanes<WideLanes>(sums[l] + q * 16) * inverse[q],
                        high = load_lanes<WideLanes>(sums[l + 1] + q * 16) * inverse[q];
        out(q / queries.heads, q % queries.heads * width + i + l * 16, low, high);
      }
  }
}

// Takes 32 results, from column `at` of row `row` on.
struct ToFloats {
  float* first;
  std::int64_t stride;
  CAI_PAIRS void operator()(std::int64_t row, std::int64_t at, WideLanes low, WideLanes high) const {
    store_lanes(first + row * stride + at, low), store_lanes(first + row * stride + at + 16, high);
  }
};

struct ToInputs {
  Inputs& to;
  std::int64_t row, column;
  CAI_PAIRS void operator()(std::int64_t r, std::int64_t at, WideLanes low, WideLanes high) const {
    _mm512_store_si512(to.words(row + r, column + at),
                       (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low));
  }
};

// In tiles: all heads of all rows at once if there are so few, else a row's by kTileRows.
template <class Out>
void attend_in_tiles(const Queries& queries, std::span<const AttentionBlock> blocks, std::int64_t width,
                     float scale, float* scores, const Out& to) {
  if (queries.rows * queries.heads <= kTileRows)
    return attend_tiles(queries, blocks, width, scale, positions_in(blocks), scores, to(0, 0));
  each_row(queries, blocks, [&](std::int64_t r, std::span<const AttentionBlock> seen) {
    const float* const row = queries.first + r * queries.stride;
    for (std::int64_t h = 0; h < queries.heads; h += kTileRows)
      attend_tiles({row + h * width, 1, std::min(kTileRows, queries.heads - h), 0}, seen, width, scale,
                   positions_in(seen), scores, to(r, h * width));
  });
}

}  // namespace

bool attends_in_tiles(Cached kind, std::int64_t width) {
  return kind == Cached::kBfloat16 && width % 64 == 0 && has_amx();
}

void attend_in_tiles(const Queries& queries, std::span<const AttentionBlock> blocks, std::int64_t width,
                     float scale, float* scores, float* out, std::int64_t out_stride) {
  attend_in_tiles(queries, blocks, width, scale, scores, [&](std::int64_t r, std::int64_t column) {
    return ToFloats{out + r * out_stride + column, out_stride};
  });
}

void attend_in_tiles(const Queries& queries, std::span<const AttentionBlock> blocks, std::int64_t width,
                     float scale, float* scores, Inputs& out, std::int64_t row, std::int64_t column) {
  attend_in_tiles(queries, blocks, width, scale, scores, [&](std::int64_t r, std::int64_t c) {
    return ToInputs{out, row + r, column + c};
  });
}

}  // namespace cai
