#include "cai/engine/attention.hpp"

// GCC 12 warns about its own undefined-value intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cai/base/bfloat16.hpp"
#include "cai/base/lanes.hpp"
#include "cai/engine/attention_parts.hpp"
#include "cai/engine/attention_tiles.hpp"
#include "cai/engine/inputs.hpp"
#include "cai/engine/kernels.hpp"

// With fused multiply-add where there is one: products of matrices have it too, so results differ by
// instruction set.
#define CAI_FUSED \
  __attribute__((target_clones("avx512f", "avx2,fma", "default"), optimize("fp-contract=fast")))

namespace cai {

void put_key(Cached kind, const float* key, std::int64_t position, std::int64_t width, std::byte* keys) {
  if (kind == Cached::kFloat32) {
    float* lane =
        reinterpret_cast<float*>(keys) + position / kKeyLane * kKeyLane * width + position % kKeyLane;
    for (std::int64_t i = 0; i < width; ++i)
      lane[i * kKeyLane] = key[i];
  } else {
    Pair* lane =
        reinterpret_cast<Pair*>(keys) + position / kKeyLane * kKeyLane * (width / 2) + position % kKeyLane;
    Pair pairs[kWidestPairs / 2];
    to_pairs(key, width, pairs);
    for (std::int64_t i = 0; i < width / 2; ++i)
      lane[i * kKeyLane] = pairs[i];
  }
}

void put_value(Cached kind, const float* value, std::int64_t position, std::int64_t width,
               std::byte* values) {
  if (kind == Cached::kFloat32) {
    std::copy_n(value, width, reinterpret_cast<float*>(values) + position * width);
  } else {
    Pair pairs[kWidestPairs / 2];
    to_pairs(value, width, pairs);
    std::uint16_t* to = reinterpret_cast<std::uint16_t*>(values) + position / 2 * 2 * width + position % 2;
    for (std::int64_t i = 0; i < width; ++i)
      to[2 * i] = static_cast<std::uint16_t>(pairs[i / 2] >> 16 * (i % 2));
  }
}

namespace {

void cap_scores(float* scores, std::int64_t total, float cap) {
  for (std::int64_t i = 0; i < total; ++i)
    scores[i] = cap * std::tanh(scores[i] / cap);
}

// One query's scores become weights; returns what to multiply with so that they sum to 1.
[[gnu::always_inline]] inline float weights_of(float* scores, std::int64_t total, float cap) {
  if (cap > 0) cap_scores(scores, total, cap);
  float highest = -INFINITY;
  WideLanes most = WideLanes{} - INFINITY;
  std::int64_t k = 0;
  for (; k + 16 <= total; k += 16) {
    const WideLanes v = load_lanes<WideLanes>(scores + k);
    most = v > most ? v : most;
  }
  for (int lane = 0; lane < 16; ++lane)
    highest = std::max(highest, most[lane]);
  for (; k < total; ++k)
    highest = std::max(highest, scores[k]);
  exp_shifted(scores, total, highest, 1.0f, scores);
  WideLanes parts = {};
  for (k = 0; k + 16 <= total; k += 16)
    parts += load_lanes<WideLanes>(scores + k);
  float sum = 0;
  for (int lane = 0; lane < 16; ++lane)
    sum += parts[lane];
  for (; k < total; ++k)
    sum += scores[k];
  return 1.0f / sum;
}

// `Queries` query heads that share their keys and values: each lane is loaded once for all of them.
template <int Queries>
[[gnu::always_inline]] inline void attend_floats(const float* queries, std::span<const AttentionBlock> blocks,
                                                 std::int64_t width, ScoreRule rule, std::int64_t total,
                                                 float* scores, float* out) {
  std::int64_t done = 0;
  for (const AttentionBlock& block : blocks) {
    const std::int64_t end = block.first + block.count, lane_size = kKeyLane * width;
    std::int64_t from = block.first / kKeyLane * kKeyLane;
    for (; from + 3 * kKeyLane < end;
         from += 4 * kKeyLane) {  // four lanes at once: their sums do not wait for each other
      const float* lane = reinterpret_cast<const float*>(block.keys) + from * width;
      WideLanes a[Queries] = {}, b[Queries] = {}, c[Queries] = {}, d[Queries] = {};
      for (std::int64_t i = 0; i < width; ++i) {
        const float* at = lane + i * kKeyLane;
        const WideLanes k0 = load_lanes<WideLanes>(at), k1 = load_lanes<WideLanes>(at + lane_size),
                        k2 = load_lanes<WideLanes>(at + 2 * lane_size),
                        k3 = load_lanes<WideLanes>(at + 3 * lane_size);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q) {
          const float x = queries[q * width + i];
          a[q] += x * k0, b[q] += x * k1, c[q] += x * k2, d[q] += x * k3;
        }
      }
      keep_scores(a, from, block, rule.scale, total, scores, done),
          keep_scores(b, from + kKeyLane, block, rule.scale, total, scores, done);
      keep_scores(c, from + 2 * kKeyLane, block, rule.scale, total, scores, done),
          keep_scores(d, from + 3 * kKeyLane, block, rule.scale, total, scores, done);
    }
    for (; from < end; from += kKeyLane) {
      const float* lane = reinterpret_cast<const float*>(block.keys) + from * width;
      WideLanes a[Queries] = {};
      for (std::int64_t i = 0; i < width; ++i) {
        const WideLanes key = load_lanes<WideLanes>(lane + i * kKeyLane);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q)
          a[q] += queries[q * width + i] * key;
      }
      keep_scores(a, from, block, rule.scale, total, scores, done);
    }
  }
  float inverse[Queries];
  for (int q = 0; q < Queries; ++q)
    inverse[q] = weights_of(scores + q * total, total, rule.cap);

  std::fill_n(out, Queries * width, 0.0f);
  std::int64_t first = 0;
  for (const AttentionBlock& block : blocks) {
    const float* values = reinterpret_cast<const float*>(block.values) + block.first * width;
    std::int64_t i = 0;
    for (; i + 64 <= width;
         i += 64) {  // four accumulators a query over all positions, so that out is written once a block
      WideLanes a[Queries], b[Queries], c[Queries], d[Queries];
      for (int q = 0; q < Queries; ++q) {
        const float* at = out + q * width + i;
        a[q] = load_lanes<WideLanes>(at), b[q] = load_lanes<WideLanes>(at + 16),
        c[q] = load_lanes<WideLanes>(at + 32), d[q] = load_lanes<WideLanes>(at + 48);
      }
      for (std::int64_t p = 0; p < block.count; ++p) {
        const float* value = values + p * width + i;
        const WideLanes v0 = load_lanes<WideLanes>(value), v1 = load_lanes<WideLanes>(value + 16),
                        v2 = load_lanes<WideLanes>(value + 32), v3 = load_lanes<WideLanes>(value + 48);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q) {
          const float weight = scores[q * total + first + p];
          a[q] += weight * v0, b[q] += weight * v1, c[q] += weight * v2, d[q] += weight * v3;
        }
      }
      for (int q = 0; q < Queries; ++q) {
        float* at = out + q * width + i;
        store_lanes(at, a[q]), store_lanes(at + 16, b[q]), store_lanes(at + 32, c[q]),
            store_lanes(at + 48, d[q]);
      }
    }
    for (; i < width; ++i)
      for (int q = 0; q < Queries; ++q)
        for (std::int64_t p = 0; p < block.count; ++p)
          out[q * width + i] += scores[q * total + first + p] * values[p * width + i];
    first += block.count;
  }
  for (int q = 0; q < Queries; ++q)
    for (std::int64_t i = 0; i < width; ++i)
      out[q * width + i] *= inverse[q];
}

CAI_PAIRS inline WideLanes add_products(WideLanes sum, Pair x, __m512bh y) {
  return (WideLanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(static_cast<int>(x)), y);
}

CAI_PAIRS inline __m512bh load_pairs(const Pair* p) {
  __m512bh v = (__m512bh)_mm512_loadu_si512(p);
  asm("" : "+v"(v));  // stays in its register; GCC 12 would load it again for each query
  return v;
}

// As attend_floats, of pairs.
template <int Queries>
CAI_PAIRS inline void attend_pairs(const float* queries, std::span<const AttentionBlock> blocks,
                                   std::int64_t width, ScoreRule rule, std::int64_t total, float* scores,
                                   float* out) {
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
        const __m512bh k0 = load_pairs(at), k1 = load_pairs(at + lane_size),
                       k2 = load_pairs(at + 2 * lane_size), k3 = load_pairs(at + 3 * lane_size);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q) {
          const Pair x = query[q * half + i];
          a[q] = add_products(a[q], x, k0), b[q] = add_products(b[q], x, k1),
          c[q] = add_products(c[q], x, k2), d[q] = add_products(d[q], x, k3);
        }
      }
      keep_scores(a, from, block, rule.scale, total, scores, done),
          keep_scores(b, from + kKeyLane, block, rule.scale, total, scores, done);
      keep_scores(c, from + 2 * kKeyLane, block, rule.scale, total, scores, done),
          keep_scores(d, from + 3 * kKeyLane, block, rule.scale, total, scores, done);
    }
    for (; from < end; from += kKeyLane) {
      const Pair* lane = reinterpret_cast<const Pair*>(block.keys) + from * half;
      WideLanes a[Queries] = {};
      for (std::int64_t i = 0; i < half; ++i) {
        const __m512bh key = load_pairs(lane + i * kKeyLane);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q)
          a[q] = add_products(a[q], query[q * half + i], key);
      }
      keep_scores(a, from, block, rule.scale, total, scores, done);
    }
  }
  float inverse[Queries];
  for (int q = 0; q < Queries; ++q)
    inverse[q] = weights_of(scores + q * total, total, rule.cap);

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
        a[q] = load_lanes<WideLanes>(at), b[q] = load_lanes<WideLanes>(at + 16),
        c[q] = load_lanes<WideLanes>(at + 32), d[q] = load_lanes<WideLanes>(at + 48);
      }
      for (std::int64_t p = 0; p < pairs; ++p) {
        const Pair* value = values + p * width + i;
        const __m512bh v0 = load_pairs(value), v1 = load_pairs(value + 16), v2 = load_pairs(value + 32),
                       v3 = load_pairs(value + 48);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q) {
          const Pair x = weights[q][p];
          a[q] = add_products(a[q], x, v0), b[q] = add_products(b[q], x, v1),
          c[q] = add_products(c[q], x, v2), d[q] = add_products(d[q], x, v3);
        }
      }
      for (int q = 0; q < Queries; ++q) {
        float* at = out + q * width + i;
        store_lanes(at, a[q]), store_lanes(at + 16, b[q]), store_lanes(at + 32, c[q]),
            store_lanes(at + 48, d[q]);
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
    for (std::int64_t i = 0; i < width; ++i)
      out[q * width + i] *= inverse[q];
}

CAI_FUSED void attend_all_floats(const float* queries, std::int64_t count,
                                 std::span<const AttentionBlock> blocks, std::int64_t width, ScoreRule rule,
                                 std::int64_t total, float* scores, float* out) {
  for (; count >= 3; count -= 3, queries += 3 * width, out += 3 * width)
    attend_floats<3>(queries, blocks, width, rule, total, scores, out);
  if (count == 2) attend_floats<2>(queries, blocks, width, rule, total, scores, out);
  if (count == 1) attend_floats<1>(queries, blocks, width, rule, total, scores, out);
}

CAI_PAIRS void attend_all_pairs(const float* queries, std::int64_t count,
                                std::span<const AttentionBlock> blocks, std::int64_t width, ScoreRule rule,
                                std::int64_t total, float* scores, float* out) {
  for (; count >= 3; count -= 3, queries += 3 * width, out += 3 * width)
    attend_pairs<3>(queries, blocks, width, rule, total, scores, out);
  if (count == 2) attend_pairs<2>(queries, blocks, width, rule, total, scores, out);
  if (count == 1) attend_pairs<1>(queries, blocks, width, rule, total, scores, out);
}

}  // namespace

void attend(Cached kind, const Queries& queries, std::span<const AttentionBlock> blocks, std::int64_t width,
            ScoreRule rule, float* scores, float* out, std::int64_t out_stride) {
  if (attends_in_tiles(kind, width) && rule.cap == 0)
    return attend_in_tiles(queries, blocks, width, rule.scale, scores, out, out_stride);
  each_row(queries, blocks, [&](std::int64_t r, std::span<const AttentionBlock> seen) {
    (kind == Cached::kFloat32 ? attend_all_floats : attend_all_pairs)(
        queries.first + r * queries.stride, queries.heads, seen, width, rule, positions_in(seen), scores,
        out + r * out_stride);
  });
}

void attend(Cached kind, const Queries& queries, std::span<const AttentionBlock> blocks, std::int64_t width,
            ScoreRule rule, float* scores, Inputs& out, std::int64_t row, std::int64_t column) {
  if (out.in_tiles() && attends_in_tiles(kind, width) && rule.cap == 0)
    return attend_in_tiles(queries, blocks, width, rule.scale, scores, out, row, column);
  if (!out.in_tiles())
    return attend(kind, queries, blocks, width, rule, scores, out.floats() + row * out.in() + column,
                  out.in());
  const std::int64_t row_width = queries.heads * width;
  std::vector<float> rows(static_cast<std::size_t>(queries.rows * row_width));
  attend(kind, queries, blocks, width, rule, scores, rows.data(), row_width);
  for (std::int64_t r = 0; r < queries.rows; ++r)
    for (std::int64_t i = 0; i < row_width; i += 2)
      *out.words(row + r, column + i) = pair_of(rows[static_cast<std::size_t>(r * row_width + i)],
                                                rows[static_cast<std::size_t>(r * row_width + i + 1)]);
}

}  // namespace cai
