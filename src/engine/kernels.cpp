#include "cai/engine/kernels.hpp"

// GCC 12 warns about its own undefined-value intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "cai/base/lanes.hpp"

// Functions on eight lanes, compiled for AVX2 and for any x86-64, chosen at load time. No fused multiply-add here (the build
// forbids contraction), so both give the same bits.
#define CAI_LANES __attribute__((target_clones("avx2", "default")))
// On sixteen lanes, with fused multiply-add where there is one: products of matrices have it too, so results differ by instruction set.
#define CAI_FUSED __attribute__((target_clones("avx512f", "avx2,fma", "default"), optimize("fp-contract=fast")))

namespace cai {
namespace {

constexpr std::int64_t kPanel = PackedMatrix::kPanel;

__attribute__((target("avx512f"), always_inline)) inline __m512 load16(const float* p) { return _mm512_loadu_ps(p); }
__attribute__((target("avx512f"), always_inline)) inline __m512 load16(const std::uint16_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}
__attribute__((target("avx2,fma"), always_inline)) inline __m256 load8(const float* p) { return _mm256_loadu_ps(p); }
__attribute__((target("avx2,fma"), always_inline)) inline __m256 load8(const std::uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
inline float load1(const float* p) { return *p; }
inline float load1(const std::uint16_t* p) { return std::bit_cast<float>(static_cast<std::uint32_t>(*p) << 16); }

// One tile: `Rows` rows of x against one panel of float32 or bfloat16 weights. The accumulators stay in registers, each summed
// over k in order.
template <int Rows, class Weight>
__attribute__((target("avx512f"))) void tile_avx512(const float* x, std::int64_t in, const Weight* panel, float* y) {
  __m512 sum[Rows][2];
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
  for (std::int64_t k = 0; k < in; ++k) {
    const __m512 b0 = load16(panel + k * kPanel), b1 = load16(panel + k * kPanel + 16);
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
      const __m512 a = _mm512_set1_ps(x[r * in + k]);
      sum[r][0] = _mm512_fmadd_ps(a, b0, sum[r][0]);
      sum[r][1] = _mm512_fmadd_ps(a, b1, sum[r][1]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
    _mm512_storeu_ps(y + r * kPanel, sum[r][0]);
    _mm512_storeu_ps(y + r * kPanel + 16, sum[r][1]);
  }
}

// As above on pairs of bfloat16 along k: a product of two pairs and its sum is one instruction. x: [rows, pairs], panel: [pairs, kPanel].
template <int Rows>
__attribute__((target("avx512f,avx512bf16"))) void tile_pairs(const std::uint32_t* x, std::int64_t pairs, const std::uint32_t* panel, float* y) {
  __m512 sum[Rows][2];
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
  for (std::int64_t k = 0; k < pairs; ++k) {
    const __m512bh b0 = (__m512bh)_mm512_loadu_si512(panel + k * kPanel), b1 = (__m512bh)_mm512_loadu_si512(panel + k * kPanel + 16);
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
      const __m512bh a = (__m512bh)_mm512_set1_epi32(static_cast<int>(x[r * pairs + k]));
      sum[r][0] = _mm512_dpbf16_ps(sum[r][0], a, b0);
      sum[r][1] = _mm512_dpbf16_ps(sum[r][1], a, b1);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
    _mm512_storeu_ps(y + r * kPanel, sum[r][0]);
    _mm512_storeu_ps(y + r * kPanel + 16, sum[r][1]);
  }
}

// Half a panel at a time: 6 rows x 16 columns fill the sixteen registers of AVX2.
template <int Rows, class Weight>
__attribute__((target("avx2,fma"))) void tile_avx2(const float* x, std::int64_t in, const Weight* panel, float* y) {
  for (int half = 0; half < 2; ++half) {
    const Weight* b = panel + half * 16;
    __m256 sum[Rows][2];
#pragma GCC unroll 6
    for (int r = 0; r < Rows; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_ps();
    for (std::int64_t k = 0; k < in; ++k) {
      const __m256 b0 = load8(b + k * kPanel), b1 = load8(b + k * kPanel + 8);
#pragma GCC unroll 6
      for (int r = 0; r < Rows; ++r) {
        const __m256 a = _mm256_broadcast_ss(x + r * in + k);
        sum[r][0] = _mm256_fmadd_ps(a, b0, sum[r][0]);
        sum[r][1] = _mm256_fmadd_ps(a, b1, sum[r][1]);
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < Rows; ++r) {
      _mm256_storeu_ps(y + r * kPanel + half * 16, sum[r][0]);
      _mm256_storeu_ps(y + r * kPanel + half * 16 + 8, sum[r][1]);
    }
  }
}

template <class Weight>
void tile_plain(const float* x, std::int64_t in, const Weight* panel, float* y) {
  std::fill_n(y, kPanel, 0.0f);
  for (std::int64_t k = 0; k < in; ++k)
    for (std::int64_t j = 0; j < kPanel; ++j) y[j] += x[k] * load1(panel + k * kPanel + j);
}

enum class Isa { kPlain, kAvx2, kAvx512 };

Isa isa() {
  static const Isa best = __builtin_cpu_supports("avx512f") ? Isa::kAvx512
                          : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? Isa::kAvx2
                                                                                             : Isa::kPlain;
  return best;
}

template <class X, class Weight>
struct Tiles {
  int rows;                                                                  // of the largest tile
  void (*by_rows[13])(const X*, std::int64_t, const Weight*, float*);        // [r]: a tile of exactly r rows
};

template <class W, int... R>
Tiles<float, W> tiles_avx512(std::integer_sequence<int, R...>) { return {sizeof...(R), {nullptr, tile_avx512<R + 1, W>...}}; }
template <class W, int... R>
Tiles<float, W> tiles_avx2(std::integer_sequence<int, R...>) { return {sizeof...(R), {nullptr, tile_avx2<R + 1, W>...}}; }
template <int... R>
Tiles<std::uint32_t, std::uint32_t> tiles_pairs(std::integer_sequence<int, R...>) { return {sizeof...(R), {nullptr, tile_pairs<R + 1>...}}; }

template <class Weight>
const Tiles<float, Weight>& tiles() {
  static const Tiles<float, Weight> best = isa() == Isa::kAvx512 ? tiles_avx512<Weight>(std::make_integer_sequence<int, 12>())
                                           : isa() == Isa::kAvx2 ? tiles_avx2<Weight>(std::make_integer_sequence<int, 6>())
                                                                 : Tiles<float, Weight>{1, {nullptr, tile_plain<Weight>}};
  return best;
}

// y [rows, out] = x [rows, depth] times panels of [depth, kPanel].
template <class X, class Weight>
void multiply_panels(const Tiles<X, Weight>& t, const Weight* panels, const X* x, std::int64_t rows, std::int64_t depth, std::int64_t out, float* y) {
  const std::int64_t count = (out + kPanel - 1) / kPanel;
#pragma omp parallel for schedule(static)
  for (std::int64_t p = 0; p < count; ++p) {
    const Weight* panel = panels + p * depth * kPanel;
    const std::int64_t columns = std::min(kPanel, out - p * kPanel);
    alignas(64) float tile[12 * kPanel];
    for (std::int64_t first = 0; first < rows; first += t.rows) {
      const int n = static_cast<int>(std::min<std::int64_t>(t.rows, rows - first));
      t.by_rows[n](x + first * depth, depth, panel, tile);
      for (int r = 0; r < n; ++r)
        std::memcpy(y + (first + r) * out + p * kPanel, tile + r * kPanel, static_cast<std::size_t>(columns) * sizeof(float));
    }
  }
}

// Round to nearest, ties to even; NaN stays NaN.
std::uint16_t to_bfloat16(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Two values as one word, the first in the low half.
std::uint32_t pair_of(float first, float second) { return to_bfloat16(first) | static_cast<std::uint32_t>(to_bfloat16(second)) << 16; }

// A row of `width` floats as pairs; an odd last value is paired with 0. Lanes round as to_bfloat16 does, but numbers below 2^-126 to 0.
__attribute__((target("avx512f,avx512bf16"))) void to_pairs(const float* x, std::int64_t width, std::uint32_t* pairs) {
  std::int64_t i = 0;
  for (; i + 32 <= width; i += 32)
    _mm512_storeu_si512(pairs + i / 2, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i)));
  for (; i < width; i += 2) pairs[i / 2] = pair_of(x[i], i + 1 < width ? x[i + 1] : 0.0f);
}

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

bool has_bfloat16_products() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16"); }

const char* kernel_name(bool bfloat16) {
  if (bfloat16 && has_bfloat16_products()) return "avx512-bf16";
  return isa() == Isa::kAvx512 ? "avx512" : isa() == Isa::kAvx2 ? "avx2" : "plain";
}

PackedMatrix::PackedMatrix(std::span<const float* const> parts, std::span<const std::int64_t> outs, std::int64_t in, bool bfloat16) : in_(in) {
  std::vector<const float*> rows;
  for (std::size_t p = 0; p < parts.size(); ++p)
    for (std::int64_t r = 0; r < outs[p]; ++r) rows.push_back(parts[p] + r * in);
  out_ = static_cast<std::int64_t>(rows.size());
  const std::int64_t count = (out_ + kPanel - 1) / kPanel;
  // value(row, k): element k of a panel's column, for k below `depth`.
  const auto fill = [&](auto& panels, std::int64_t depth, auto value) {
    panels.assign(static_cast<std::size_t>(count * depth * kPanel), {});
#pragma omp parallel for schedule(static)
    for (std::int64_t p = 0; p < count; ++p) {
      auto* panel = panels.data() + p * depth * kPanel;
      const std::int64_t columns = std::min(kPanel, out_ - p * kPanel);
      for (std::int64_t j = 0; j < columns; ++j)
        for (std::int64_t k = 0; k < depth; ++k) panel[k * kPanel + j] = value(rows[static_cast<std::size_t>(p * kPanel + j)], k);
    }
  };
  if (!bfloat16) fill(panels_, in, [](const float* row, std::int64_t k) { return row[k]; });
  else if (!has_bfloat16_products()) fill(half_panels_, in, [](const float* row, std::int64_t k) { return to_bfloat16(row[k]); });
  else fill(pair_panels_, (in + 1) / 2, [in](const float* row, std::int64_t k) { return pair_of(row[2 * k], 2 * k + 1 < in ? row[2 * k + 1] : 0.0f); });
}

void PackedMatrix::multiply(const float* x, std::int64_t rows, std::int64_t first, std::int64_t count, float* y) const {
  if (!panels_.empty()) {
    multiply_panels(tiles<float>(), panels_.data() + first * in_, x, rows, in_, count, y);
  } else if (!half_panels_.empty()) {
    multiply_panels(tiles<std::uint16_t>(), half_panels_.data() + first * in_, x, rows, in_, count, y);
  } else {
    const std::int64_t pairs = (in_ + 1) / 2;
    const std::unique_ptr<std::uint32_t[]> rounded(new std::uint32_t[static_cast<std::size_t>(rows * pairs)]);
#pragma omp parallel for schedule(static) if (rows >= 8)
    for (std::int64_t r = 0; r < rows; ++r) to_pairs(x + r * in_, in_, rounded.get() + r * pairs);
    static const Tiles<std::uint32_t, std::uint32_t> t = tiles_pairs(std::make_integer_sequence<int, 12>());
    multiply_panels(t, pair_panels_.data() + first * pairs, rounded.get(), rows, pairs, count, y);
  }
}

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

CAI_LANES double log_sum_exp(const float* x, std::int64_t n) {
  Lanes most = Lanes{} - INFINITY;
  std::int64_t k = 0;
  for (; k + 8 <= n; k += 8) {
    const Lanes v = load(x + k);
    most = v > most ? v : most;
  }
  float highest = -INFINITY;
  for (int lane = 0; lane < 8; ++lane) highest = std::max(highest, most[lane]);
  for (; k < n; ++k) highest = std::max(highest, x[k]);
  double sum = 0;
  float part[512];
  for (std::int64_t i = 0; i < n; i += 512) {
    const std::int64_t m = std::min<std::int64_t>(512, n - i);
    exp_shifted(x + i, m, highest, 1.0f, part);
    Lanes lanes = {};
    std::int64_t j = 0;
    for (; j + 8 <= m; j += 8) lanes += load(part + j);
    float block = sum_lanes(lanes);
    for (; j < m; ++j) block += part[j];
    sum += block;
  }
  return static_cast<double>(highest) + std::log(sum);
}

}  // namespace cai
