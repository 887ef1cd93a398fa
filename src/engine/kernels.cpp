#include "cai/engine/kernels.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cai/base/lanes.hpp"

// Functions on eight lanes, compiled for AVX2 and for any x86-64, chosen at load time. No fused multiply-add here (the build
// forbids contraction), so both give the same bits.
#define CAI_LANES __attribute__((target_clones("avx2", "default")))
// On sixteen lanes, with fused multiply-add where there is one: products of matrices have it too, so results differ by instruction set.
#define CAI_FUSED __attribute__((target_clones("avx512f", "avx2,fma", "default"), optimize("fp-contract=fast")))

namespace cai {
namespace {

[[gnu::always_inline]] inline Lanes load(const float* p) {
  Lanes v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

[[gnu::always_inline]] inline void store(float* p, Lanes v) { std::memcpy(p, &v, sizeof v); }

typedef float WideLanes __attribute__((vector_size(64)));

[[gnu::always_inline]] inline WideLanes load_wide(const float* p) {
  WideLanes v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

[[gnu::always_inline]] inline void store_wide(float* p, WideLanes v) { std::memcpy(p, &v, sizeof v); }

[[gnu::always_inline]] inline float sum_lanes(Lanes v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

}  // namespace

CAI_LANES void rms_norm(const float* x, const float* weight, std::int64_t width, double epsilon,
                                                               float* y) {
  Lanes squares = {};
  std::int64_t i = 0;
  for (; i + 8 <= width; i += 8) {
    const Lanes v = load(x + i);
    squares += v * v;
  }
  float sum = sum_lanes(squares);
  for (; i < width; ++i) sum += x[i] * x[i];
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(width) + static_cast<float>(epsilon));
  for (i = 0; i < width; ++i) y[i] = x[i] * scale * weight[i];
}

CAI_LANES void exp_shifted(const float* x, std::int64_t n, float shift, float scale, float* y) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) store(y + i, exp_lanes((load(x + i) - shift) * scale));
  if (i < n) {
    float rest[8] = {};
    std::memcpy(rest, x + i, static_cast<std::size_t>(n - i) * sizeof(float));
    store(rest, exp_lanes((load(rest) - shift) * scale));
    std::memcpy(y + i, rest, static_cast<std::size_t>(n - i) * sizeof(float));
  }
}

CAI_LANES void silu_multiply(const float* gate, const float* up, std::int64_t n, float* y) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const Lanes g = load(gate + i);
    store(y + i, g / (1.0f + exp_lanes(-g)) * load(up + i));
  }
  for (; i < n; ++i) y[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void put_key(const float* key, std::int64_t position, std::int64_t width, float* keys) {
  float* lane = keys + position / kKeyLane * kKeyLane * width + position % kKeyLane;
  for (std::int64_t i = 0; i < width; ++i) lane[i * kKeyLane] = key[i];
}

// `Queries` query heads that share their keys and values: each lane is loaded once for all of them.
template <int Queries>
[[gnu::always_inline]] inline void attend_together(const float* queries, std::span<const AttentionBlock> blocks, std::int64_t width, float scale, std::int64_t total,
                                                   float* scores, float* out) {
  std::int64_t done = 0;
  for (const AttentionBlock& block : blocks) {
    const std::int64_t end = block.first + block.count, lane_size = kKeyLane * width;
    const auto keep = [&](const WideLanes (&sums)[Queries], std::int64_t from) __attribute__((always_inline)) {
      const std::int64_t first = std::max(from, block.first), last = std::min(from + kKeyLane, end);
      for (int q = 0; q < Queries; ++q) {
        const WideLanes scaled = sums[q] * scale;
        if (last - first == kKeyLane) store_wide(scores + q * total + done, scaled);
        else
          for (std::int64_t p = first; p < last; ++p) scores[q * total + done + p - first] = scaled[p - from];
      }
      done += last - first;
    };
    std::int64_t from = block.first / kKeyLane * kKeyLane;
    for (; from + 3 * kKeyLane < end; from += 4 * kKeyLane) {  // four lanes at once: their sums do not wait for each other
      const float* lane = block.keys + from * width;
      WideLanes a[Queries] = {}, b[Queries] = {}, c[Queries] = {}, d[Queries] = {};
      for (std::int64_t i = 0; i < width; ++i) {
        const float* at = lane + i * kKeyLane;
        const WideLanes k0 = load_wide(at), k1 = load_wide(at + lane_size), k2 = load_wide(at + 2 * lane_size), k3 = load_wide(at + 3 * lane_size);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q) {
          const float x = queries[q * width + i];
          a[q] += x * k0, b[q] += x * k1, c[q] += x * k2, d[q] += x * k3;
        }
      }
      keep(a, from), keep(b, from + kKeyLane), keep(c, from + 2 * kKeyLane), keep(d, from + 3 * kKeyLane);
    }
    for (; from < end; from += kKeyLane) {
      const float* lane = block.keys + from * width;
      WideLanes a[Queries] = {};
      for (std::int64_t i = 0; i < width; ++i) {
        const WideLanes key = load_wide(lane + i * kKeyLane);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q) a[q] += queries[q * width + i] * key;
      }
      keep(a, from);
    }
  }
  float inverse[Queries];
  for (int q = 0; q < Queries; ++q) {
    float *mine = scores + q * total, highest = -INFINITY;
    WideLanes most = WideLanes{} - INFINITY;
    std::int64_t k = 0;
    for (; k + 16 <= total; k += 16) {
      const WideLanes v = load_wide(mine + k);
      most = v > most ? v : most;
    }
    for (int lane = 0; lane < 16; ++lane) highest = std::max(highest, most[lane]);
    for (; k < total; ++k) highest = std::max(highest, mine[k]);
    exp_shifted(mine, total, highest, 1.0f, mine);
    WideLanes parts = {};
    for (k = 0; k + 16 <= total; k += 16) parts += load_wide(mine + k);
    float sum = 0;
    for (int lane = 0; lane < 16; ++lane) sum += parts[lane];
    for (; k < total; ++k) sum += mine[k];
    inverse[q] = 1.0f / sum;
  }

  std::fill_n(out, Queries * width, 0.0f);
  std::int64_t first = 0;
  for (const AttentionBlock& block : blocks) {
    const float* values = block.values + block.first * width;
    std::int64_t i = 0;
    for (; i + 64 <= width; i += 64) {  // four accumulators a query over all positions, so that out is written once a block
      WideLanes a[Queries], b[Queries], c[Queries], d[Queries];
      for (int q = 0; q < Queries; ++q) {
        const float* at = out + q * width + i;
        a[q] = load_wide(at), b[q] = load_wide(at + 16), c[q] = load_wide(at + 32), d[q] = load_wide(at + 48);
      }
      for (std::int64_t p = 0; p < block.count; ++p) {
        const float* value = values + p * width + i;
        const WideLanes v0 = load_wide(value), v1 = load_wide(value + 16), v2 = load_wide(value + 32), v3 = load_wide(value + 48);
#pragma GCC unroll 4
        for (int q = 0; q < Queries; ++q) {
          const float weight = scores[q * total + first + p];
          a[q] += weight * v0, b[q] += weight * v1, c[q] += weight * v2, d[q] += weight * v3;
        }
      }
      for (int q = 0; q < Queries; ++q) {
        float* at = out + q * width + i;
        store_wide(at, a[q]), store_wide(at + 16, b[q]), store_wide(at + 32, c[q]), store_wide(at + 48, d[q]);
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

CAI_FUSED void attend(const float* queries, std::int64_t count, std::span<const AttentionBlock> blocks, std::int64_t width, float scale, float* scores, float* out) {
  std::int64_t total = 0;
  for (const AttentionBlock& block : blocks) total += block.count;
  for (; count >= 3; count -= 3, queries += 3 * width, out += 3 * width) attend_together<3>(queries, blocks, width, scale, total, scores, out);
  if (count == 2) attend_together<2>(queries, blocks, width, scale, total, scores, out);
  if (count == 1) attend_together<1>(queries, blocks, width, scale, total, scores, out);
}

CAI_LANES float largest(const float* x, std::int64_t n) {
  Lanes most = Lanes{} - INFINITY;
  std::int64_t k = 0;
  for (; k + 8 <= n; k += 8) {
    const Lanes v = load(x + k);
    most = v > most ? v : most;
  }
  float highest = -INFINITY;
  for (int lane = 0; lane < 8; ++lane) highest = std::max(highest, most[lane]);
  for (; k < n; ++k) highest = std::max(highest, x[k]);
  return highest;
}

CAI_LANES float exp_sum(const float* x, std::int64_t n, float shift, float scale, float* y) {
  exp_shifted(x, n, shift, scale, y);
  Lanes lanes = {};
  std::int64_t k = 0;
  for (; k + 8 <= n; k += 8) lanes += load(y + k);
  float sum = sum_lanes(lanes);
  for (; k < n; ++k) sum += y[k];
  return sum;
}

double log_sum_exp(const float* x, std::int64_t n) {
  const float highest = largest(x, n);
  double sum = 0;
  float part[kSumBlock];
  for (std::int64_t i = 0; i < n; i += kSumBlock) sum += exp_sum(x + i, std::min(kSumBlock, n - i), highest, 1.0f, part);
  return static_cast<double>(highest) + std::log(sum);
}

}  // namespace cai
