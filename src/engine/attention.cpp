#include "cai/engine/attention.hpp"

// GCC 12 warns about its own undefined-value intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cai/base/amx.hpp"
#include "cai/base/bfloat16.hpp"
#include "cai/base/lanes.hpp"
#include "cai/engine/inputs.hpp"
#include "cai/engine/kernels.hpp"

#define CAI_PAIRS __attribute__((target("avx512f,avx512bf16")))
// With fused multiply-add where there is one: products of matrices have it too, so results differ by instruction set.
#define CAI_FUSED __attribute__((target_clones("avx512f", "avx2,fma", "default"), optimize("fp-contract=fast")))

namespace cai {

void put_key(Cached kind, const float* key, std::int64_t position, std::int64_t width, std::byte* keys) {
  if (kind == Cached::kFloat32) {
    float* lane = reinterpret_cast<float*>(keys) + position / kKeyLane * kKeyLane * width + position % kKeyLane;
    for (std::int64_t i = 0; i < width; ++i) lane[i * kKeyLane] = key[i];
  } else {
    Pair* lane = reinterpret_cast<Pair*>(keys) + position / kKeyLane * kKeyLane * (width / 2) + position % kKeyLane;
    Pair pairs[kWidestPairs / 2];
    to_pairs(key, width, pairs);
    for (std::int64_t i = 0; i < width / 2; ++i) lane[i * kKeyLane] = pairs[i];
  }
}

void put_value(Cached kind, const float* value, std::int64_t position, std::int64_t width, std::byte* values) {
  if (kind == Cached::kFloat32) {
    std::copy_n(value, width, reinterpret_cast<float*>(values) + position * width);
  } else {
    Pair pairs[kWidestPairs / 2];
    to_pairs(value, width, pairs);
    std::uint16_t* to = reinterpret_cast<std::uint16_t*>(values) + position / 2 * 2 * width + position % 2;
    for (std::int64_t i = 0; i < width; ++i) to[2 * i] = static_cast<std::uint16_t>(pairs[i / 2] >> 16 * (i % 2));
  }
}

namespace {

// Products of `Queries` query heads with the lane of keys at `from` become scores, those inside the block; `done` of each query are there.
template <int Queries>
[[gnu::always_inline]] inline void keep(const WideLanes (&sums)[Queries], std::int64_t from, const AttentionBlock& block, float scale, std::int64_t total, float* scores, std::int64_t& done) {
  const std::int64_t first = std::max(from, block.first), last = std::min(from + kKeyLane, block.first + block.count);
  for (int q = 0; q < Queries; ++q) {
    const WideLanes scaled = sums[q] * scale;
    if (last - first == kKeyLane) store_lanes(scores + q * total + done, scaled);
    else
      for (std::int64_t p = first; p < last; ++p) scores[q * total + done + p - first] = scaled[p - from];
  }
  done += last - first;
}

// One query's scores become weights; returns what to multiply with so that they sum to 1.
[[gnu::always_inline]] inline float weights_of(float* scores, std::int64_t total) {
  float highest = -INFINITY;
  WideLanes most = WideLanes{} - INFINITY;
  std::int64_t k = 0;
  for (; k + 16 <= total; k += 16) {
    const WideLanes v = load_lanes<WideLanes>(scores + k);
    most = v > most ? v : most;
  }
  for (int lane = 0; lane < 16; ++lane) highest = std::max(highest, most[lane]);
  for (; k < total; ++k) highest = std::max(highest, scores[k]);
  exp_shifted(scores, total, highest, 1.0f, scores);
  WideLanes parts = {};
  for (k = 0; k + 16 <= total; k += 16) parts += load_lanes<WideLanes>(scores + k);
  float sum = 0;
  for (int lane = 0; lane < 16; ++lane) sum += parts[lane];
  for (; k < total; ++k) sum += scores[k];
  return 1.0f / sum;
}

// `Queries` query heads that share their keys and values: each lane is loaded once for all of them.
template <int Queries>
[[gnu::always_inline]] inline void attend_floats(const float* queries, std::span<const AttentionBlock> blocks, std::int64_t width, float scale, std::int64_t total, float* scores, float* out) {
  std::int64_t done = 0;
  for (const AttentionBlock& block : blocks) {
    const std::int64_t end = block.first + block.count, lane_size = kKeyLane * width;
    std::int64_t from = block.first / kKeyLane * kKeyLane;
    for (; from + 3 * kKeyLane < end; from += 4 * kKeyLane) {  // four lanes at once: their sums do not wait for each other
      const float* lane = reinterpret_cast<const float*>(block.keys) + from * width;
      WideLanes a[Queries] = {}, b[Queries] = {}, c[Queries] = {}, d[Queries] = {};
      for (std::int64_t i = 0; i < width; ++i) {
        const float* at = lane + i * kKeyLane;
        const WideLanes k0 = load_lanes<WideLanes>(at), k1 = load_lanes<WideLanes>(at + lane_size), k2 = load_lanes<WideLanes>(at + 2 * lane_size), k3 = load_lanes<WideLanes>(at + 3 * lane_size);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q) {
          const float x = queries[q * width + i];
          a[q] += x * k0, b[q] += x * k1, c[q] += x * k2, d[q] += x * k3;
        }
      }
      keep(a, from, block, scale, total, scores, done), keep(b, from + kKeyLane, block, scale, total, scores, done);
      keep(c, from + 2 * kKeyLane, block, scale, total, scores, done), keep(d, from + 3 * kKeyLane, block, scale, total, scores, done);
    }
    for (; from < end; from += kKeyLane) {
      const float* lane = reinterpret_cast<const float*>(block.keys) + from * width;
      WideLanes a[Queries] = {};
      for (std::int64_t i = 0; i < width; ++i) {
        const WideLanes key = load_lanes<WideLanes>(lane + i * kKeyLane);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q) a[q] += queries[q * width + i] * key;
      }
      keep(a, from, block, scale, total, scores, done);
    }
  }
  float inverse[Queries];
  for (int q = 0; q < Queries; ++q) inverse[q] = weights_of(scores + q * total, total);

  std::fill_n(out, Queries * width, 0.0f);
  std::int64_t first = 0;
  for (const AttentionBlock& block : blocks) {
    const float* values = reinterpret_cast<const float*>(block.values) + block.first * width;
    std::int64_t i = 0;
    for (; i + 64 <= width; i += 64) {  // four accumulators a query over all positions, so that out is written once a block
      WideLanes a[Queries], b[Queries], c[Queries], d[Queries];
      for (int q = 0; q < Queries; ++q) {
        const float* at = out + q * width + i;
        a[q] = load_lanes<WideLanes>(at), b[q] = load_lanes<WideLanes>(at + 16), c[q] = load_lanes<WideLanes>(at + 32), d[q] = load_lanes<WideLanes>(at + 48);
      }
      for (std::int64_t p = 0; p < block.count; ++p) {
        const float* value = values + p * width + i;
        const WideLanes v0 = load_lanes<WideLanes>(value), v1 = load_lanes<WideLanes>(value + 16), v2 = load_lanes<WideLanes>(value + 32), v3 = load_lanes<WideLanes>(value + 48);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q) {
          const float weight = scores[q * total + first + p];
          a[q] += weight * v0, b[q] += weight * v1, c[q] += weight * v2, d[q] += weight * v3;
        }
      }
      for (int q = 0; q < Queries; ++q) {
        float* at = out + q * width + i;
        store_lanes(at, a[q]), store_lanes(at + 16, b[q]), store_lanes(at + 32, c[q]), store_lanes(at + 48, d[q]);
      }
    }
    for (; i < width; ++i)
      for (int q = 0; q < Queries; ++q)
        for (std::int64_t p = 0; p < block.count; ++p) out[q * width + i] += scores[q * total + first + p] * values[p * width + i];
    first += block.count;
  }
  for (int q = 0; q < Queries; ++q)
    for (std::int64_t i = 0; i < width; ++i) out[q * width + i] *= inverse[q];
}

CAI_PAIRS inline WideLanes add_products(WideLanes sum, Pair x, __m512bh y) {
  return (WideLanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(static_cast<int>(x)), y);
}

CAI_PAIRS inline __m512bh load_pairs(const Pair* p) {
  __m512bh v = (__m512bh)_mm512_loadu_si512(p);
  asm("" : "+v"(v));  // stays in its register; GCC 12 would load it again for each query
  return v;
}

// Weights of the positions [first, first + count) as pairs of positions, the first of a pair even; half a pair is filled up with 0. Returns how many; they
// may take the place of the weights.
CAI_PAIRS inline std::int64_t pair_weights(const float* weights, std::int64_t first, std::int64_t count, Pair* pairs) {
  const std::int64_t odd = first % 2;
  if (odd) *pairs = pair_of(0.0f, *weights);
  to_pairs(weights + odd, count - odd, pairs + odd);
  return (first + count + 1) / 2 - first / 2;
}

// As attend_floats, of pairs.
template <int Queries>
CAI_PAIRS inline void attend_pairs(const float* queries, std::span<const AttentionBlock> blocks, std::int64_t width, float scale, std::int64_t total, float* scores, float* out) {
  const std::int64_t half = width / 2;
  Pair query[Queries * kWidestPairs / 2];
  to_pairs(queries, Queries * width, query);
  std::int64_t done = 0;
  for (const AttentionBlock& block : blocks) {
    const std::int64_t end = block.first + block.count, lane_size = kKeyLane * half;
    std::int64_t from = block.first / kKeyLane * kKeyLane;
    for (; from + 3 * kKeyLane < end; from += 4 * kKeyLane) {
      const Pair* lane = reinterpret_cast<const Pair*>(block.keys) + from * half;
      WideLanes a[Queries] = {}, b[Queries] = {}, c[Queries] = {}, d[Queries] = {};
      for (std::int64_t i = 0; i < half; ++i) {
        const Pair* at = lane + i * kKeyLane;
        const __m512bh k0 = load_pairs(at), k1 = load_pairs(at + lane_size), k2 = load_pairs(at + 2 * lane_size), k3 = load_pairs(at + 3 * lane_size);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q) {
          const Pair x = query[q * half + i];
          a[q] = add_products(a[q], x, k0), b[q] = add_products(b[q], x, k1), c[q] = add_products(c[q], x, k2), d[q] = add_products(d[q], x, k3);
        }
      }
      keep(a, from, block, scale, total, scores, done), keep(b, from + kKeyLane, block, scale, total, scores, done);
      keep(c, from + 2 * kKeyLane, block, scale, total, scores, done), keep(d, from + 3 * kKeyLane, block, scale, total, scores, done);
    }
    for (; from < end; from += kKeyLane) {
      const Pair* lane = reinterpret_cast<const Pair*>(block.keys) + from * half;
      WideLanes a[Queries] = {};
      for (std::int64_t i = 0; i < half; ++i) {
        const __m512bh key = load_pairs(lane + i * kKeyLane);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q) a[q] = add_products(a[q], query[q * half + i], key);
      }
      keep(a, from, block, scale, total, scores, done);
    }
  }
  float inverse[Queries];
  for (int q = 0; q < Queries; ++q) inverse[q] = weights_of(scores + q * total, total);

  std::fill_n(out, Queries * width, 0.0f);
  std::int64_t first = 0;
  for (const AttentionBlock& block : blocks) {
    const Pair* values = reinterpret_cast<const Pair*>(block.values) + block.first / 2 * width;
    const Pair* weights[Queries];
    std::int64_t pairs = 0;
    for (int q = 0; q < Queries; ++q) {
      float* mine = scores + q * total + first;
      weights[q] = reinterpret_cast<const Pair*>(mine);
      pairs = pair_weights(mine, block.first, block.count, reinterpret_cast<Pair*>(mine));
    }
    std::int64_t i = 0;
    for (; i + 64 <= width; i += 64) {
      WideLanes a[Queries], b[Queries], c[Queries], d[Queries];
      for (int q = 0; q < Queries; ++q) {
        const float* at = out + q * width + i;
        a[q] = load_lanes<WideLanes>(at), b[q] = load_lanes<WideLanes>(at + 16), c[q] = load_lanes<WideLanes>(at + 32), d[q] = load_lanes<WideLanes>(at + 48);
      }
      for (std::int64_t p = 0; p < pairs; ++p) {
        const Pair* value = values + p * width + i;
        const __m512bh v0 = load_pairs(value), v1 = load_pairs(value + 16), v2 = load_pairs(value + 32), v3 = load_pairs(value + 48);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q) {
          const Pair x = weights[q][p];
          a[q] = add_products(a[q], x, v0), b[q] = add_products(b[q], x, v1), c[q] = add_products(c[q], x, v2), d[q] = add_products(d[q], x, v3);
        }
      }
      for (int q = 0; q < Queries; ++q) {
        float* at = out + q * width + i;
        store_lanes(at, a[q]), store_lanes(at + 16, b[q]), store_lanes(at + 32, c[q]), store_lanes(at + 48, d[q]);
      }
    }
    for (; i < width; i += 16)
      for (int q = 0; q < Queries; ++q) {
        alignas(64) Pair some[16] = {};
        alignas(64) float sums[16] = {};
        const std::size_t n = static_cast<std::size_t>(std::min<std::int64_t>(16, width - i));
        std::memcpy(sums, out + q * width + i, n * sizeof(float));
        WideLanes sum = load_lanes<WideLanes>(sums);
        for (std::int64_t p = 0; p < pairs; ++p) {
          std::memcpy(some, values + p * width + i, n * sizeof(Pair));
          sum = add_products(sum, weights[q][p], load_pairs(some));
        }
        store_lanes(sums, sum);
        std::memcpy(out + q * width + i, sums, n * sizeof(float));
      }
    first += block.count;
  }
  for (int q = 0; q < Queries; ++q)
    for (std::int64_t i = 0; i < width; ++i) out[q * width + i] *= inverse[q];
}

static_assert(kQueries == kTileRows);

// As weights_of, by exp_of_power().
CAI_PAIRS inline float rough_weights_of(float* scores, std::int64_t total) {
  const auto rest = static_cast<__mmask16>((1u << total % 16) - 1);
  const std::int64_t whole = total / 16 * 16;
  const __m512 none = _mm512_set1_ps(-INFINITY);
  __m512 most = _mm512_mask_loadu_ps(none, rest, scores + whole), sum = _mm512_setzero_ps();
  for (std::int64_t k = 0; k < whole; k += 16) most = _mm512_max_ps(most, _mm512_loadu_ps(scores + k));
  const __m512 power = _mm512_set1_ps(kPowers), shift = _mm512_set1_ps(-kPowers * _mm512_reduce_max_ps(most));
  for (std::int64_t k = 0; k < whole; k += 16) {
    const __m512 e = exp_of_power(_mm512_fmadd_ps(_mm512_loadu_ps(scores + k), power, shift));
    sum = _mm512_add_ps(sum, e);
    _mm512_storeu_ps(scores + k, e);
  }
  const __m512 e = _mm512_maskz_mov_ps(rest, exp_of_power(_mm512_fmadd_ps(_mm512_maskz_loadu_ps(rest, scores + whole), power, shift)));
  _mm512_mask_storeu_ps(scores + whole, rest, e);
  return 1.0f / _mm512_reduce_add_ps(_mm512_add_ps(sum, e));
}

// As attend_floats, of pairs in tiles: up to kTileRows heads of rows, `width` a multiple of 64. A tile's products are summed before they are added, so where
// tiles of values begin matters: always at a multiple of kSplit.
template <class Out>
CAI_PAIRS void attend_tiles(const Queries& queries, std::span<const AttentionBlock> blocks, std::int64_t width, float scale, std::int64_t total, float* scores, const Out& out) {
  const std::int64_t half = width / 2, lane_size = kKeyLane * half, count = queries.rows * queries.heads;
  const auto unseen = [&](std::int64_t q) { return queries.rows - 1 - q / queries.heads; };  // positions at the end
  const auto seen = [&](const AttentionBlock& block, std::int64_t q) { return block.count - (&block == &blocks.back() ? unseen(q) : 0); };
  alignas(64) Pair query[kTileRows * kWidestPairs / 2];
  for (std::int64_t r = 0; r < queries.rows; ++r) to_pairs(queries.first + r * queries.stride, queries.heads * width, query + r * queries.heads * half);
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
          keep(one, from + l * kKeyLane, mine, scale, total, scores + q * total, done);
        }
      }
    }
    first += block.count;
  }

  // The weights as pairs of positions, [count, pairs] a block, zeros around them.
  struct Values { const Pair* first; const Pair* weights; std::int64_t pairs; };
  Values values[2];
  thread_local std::vector<float> room;  // pairs, which may lie where floats were
  const std::int64_t needed = count * (total + 2 * kSplit * static_cast<std::int64_t>(blocks.size())) / 2;
  if (static_cast<std::int64_t>(room.size()) < needed) room.resize(static_cast<std::size_t>(needed));
  Pair* to = reinterpret_cast<Pair*>(room.data());
  float inverse[kTileRows];
  for (std::int64_t q = 0; q < count; ++q) inverse[q] = rough_weights_of(scores + q * total, total - unseen(q));
  first = 0;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const AttentionBlock& block = blocks[b];
    const std::int64_t begin = block.first / kSplit * kSplit, before = block.first - begin, pairs = (before + block.count + kSplit - 1) / kSplit * kTilePairs;
    values[b] = {reinterpret_cast<const Pair*>(block.values) + begin / 2 * width, to, pairs};
    for (std::int64_t q = 0; q < count; ++q, to += pairs) {
      std::fill_n(to, before / 2, 0u);
      const std::int64_t made = before / 2 + pair_weights(scores + q * total + first, block.first, seen(block, q), to + before / 2);
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
        const WideLanes low = load_lanes<WideLanes>(sums[l] + q * 16) * inverse[q], high = load_lanes<WideLanes>(sums[l + 1] + q * 16) * inverse[q];
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
    _mm512_store_si512(to.words(row + r, column + at), (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low));
  }
};

bool in_tiles(Cached kind, std::int64_t width) { return kind == Cached::kBfloat16 && width % 64 == 0 && has_amx(); }

std::int64_t positions_in(std::span<const AttentionBlock> blocks) {
  std::int64_t total = 0;
  for (const AttentionBlock& block : blocks) total += block.count;
  return total;
}

CAI_FUSED void attend_all_floats(const float* queries, std::int64_t count, std::span<const AttentionBlock> blocks, std::int64_t width, float scale, std::int64_t total, float* scores, float* out) {
  for (; count >= 3; count -= 3, queries += 3 * width, out += 3 * width) attend_floats<3>(queries, blocks, width, scale, total, scores, out);
  if (count == 2) attend_floats<2>(queries, blocks, width, scale, total, scores, out);
  if (count == 1) attend_floats<1>(queries, blocks, width, scale, total, scores, out);
}

CAI_PAIRS void attend_all_pairs(const float* queries, std::int64_t count, std::span<const AttentionBlock> blocks, std::int64_t width, float scale, std::int64_t total, float* scores, float* out) {
  for (; count >= 3; count -= 3, queries += 3 * width, out += 3 * width) attend_pairs<3>(queries, blocks, width, scale, total, scores, out);
  if (count == 2) attend_pairs<2>(queries, blocks, width, scale, total, scores, out);
  if (count == 1) attend_pairs<1>(queries, blocks, width, scale, total, scores, out);
}

// Calls body(row, the blocks as it sees them) for each row of the queries.
template <class Body>
void by_row(const Queries& queries, std::span<const AttentionBlock> blocks, const Body& body) {
  AttentionBlock trimmed[2];
  std::copy(blocks.begin(), blocks.end(), trimmed);
  trimmed[blocks.size() - 1].count -= queries.rows - 1;
  for (std::int64_t r = 0; r < queries.rows; ++r, ++trimmed[blocks.size() - 1].count) body(r, std::span<const AttentionBlock>(trimmed, blocks.size()));
}

// In tiles: all heads of all rows at once if there are so few, else a row's by kTileRows.
template <class Out>
void attend_in_tiles(const Queries& queries, std::span<const AttentionBlock> blocks, std::int64_t width, float scale, float* scores, const Out& to) {
  if (queries.rows * queries.heads <= kTileRows) return attend_tiles(queries, blocks, width, scale, positions_in(blocks), scores, to(0, 0));
  by_row(queries, blocks, [&](std::int64_t r, std::span<const AttentionBlock> seen) {
    const float* const row = queries.first + r * queries.stride;
    for (std::int64_t h = 0; h < queries.heads; h += kTileRows)
      attend_tiles({row + h * width, 1, std::min(kTileRows, queries.heads - h), 0}, seen, width, scale, positions_in(seen), scores, to(r, h * width));
  });
}

}  // namespace

void attend(Cached kind, const Queries& queries, std::span<const AttentionBlock> blocks, std::int64_t width, float scale, float* scores, float* out, std::int64_t out_stride) {
  if (in_tiles(kind, width))
    return attend_in_tiles(queries, blocks, width, scale, scores, [&](std::int64_t r, std::int64_t column) { return ToFloats{out + r * out_stride + column, out_stride}; });
  by_row(queries, blocks, [&](std::int64_t r, std::span<const AttentionBlock> seen) {
    (kind == Cached::kFloat32 ? attend_all_floats : attend_all_pairs)(queries.first + r * queries.stride, queries.heads, seen, width, scale, positions_in(seen), scores, out + r * out_stride);
  });
}

void attend(Cached kind, const Queries& queries, std::span<const AttentionBlock> blocks, std::int64_t width, float scale, float* scores, Inputs& out, std::int64_t row, std::int64_t column) {
  if (out.in_tiles() && in_tiles(kind, width))
    return attend_in_tiles(queries, blocks, width, scale, scores, [&](std::int64_t r, std::int64_t c) { return ToInputs{out, row + r, column + c}; });
  if (!out.in_tiles()) return attend(kind, queries, blocks, width, scale, scores, out.floats() + row * out.in() + column, out.in());
  const std::int64_t row_width = queries.heads * width;
  std::vector<float> rows(static_cast<std::size_t>(queries.rows * row_width));
  attend(kind, queries, blocks, width, scale, scores, rows.data(), row_width);
  for (std::int64_t r = 0; r < queries.rows; ++r)
    for (std::int64_t i = 0; i < row_width; i += 2) *out.words(row + r, column + i) = pair_of(rows[static_cast<std::size_t>(r * row_width + i)], rows[static_cast<std::size_t>(r * row_width + i + 1)]);
}

}  // namespace cai
