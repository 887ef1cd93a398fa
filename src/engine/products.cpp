#include "cai/engine/products.hpp"

// GCC 12 warns about its own undefined-value intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "cai/base/error.hpp"

// Compiled for each width of vector registers, chosen at load time; no contraction, so all give the same bits.
#define CAI_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))

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
__attribute__((target("avx512f"))) void tile_avx512(const float* x, std::int64_t in, const Weight* panel, float* y, std::int64_t stride) {
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
    _mm512_storeu_ps(y + r * stride, sum[r][0]);
    _mm512_storeu_ps(y + r * stride + 16, sum[r][1]);
  }
}

// As above on pairs of bfloat16 along k: a product of two pairs and its sum is one instruction. x: [rows, pairs], panel: [pairs, kPanel].
template <int Rows>
__attribute__((target("avx512f,avx512bf16"))) void tile_pairs(const std::uint32_t* x, std::int64_t pairs, const std::uint32_t* panel, float* y, std::int64_t stride) {
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
    _mm512_storeu_ps(y + r * stride, sum[r][0]);
    _mm512_storeu_ps(y + r * stride + 16, sum[r][1]);
  }
}

// Half a panel at a time: 6 rows x 16 columns fill the sixteen registers of AVX2.
template <int Rows, class Weight>
__attribute__((target("avx2,fma"))) void tile_avx2(const float* x, std::int64_t in, const Weight* panel, float* y, std::int64_t stride) {
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
      _mm256_storeu_ps(y + r * stride + half * 16, sum[r][0]);
      _mm256_storeu_ps(y + r * stride + half * 16 + 8, sum[r][1]);
    }
  }
}

template <class Weight>
void tile_plain(const float* x, std::int64_t in, const Weight* panel, float* y, std::int64_t) {
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
  void (*by_rows[13])(const X*, std::int64_t, const Weight*, float*, std::int64_t);  // [r]: a tile of exactly r rows, `stride` apart in y
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

// y [rows, out] = x [rows, depth] times panels; `panel_size` and `row_size`: from one panel or row to the next.
template <class X, class Weight>
void multiply_panels(const Tiles<X, Weight>& t, const Weight* panels, std::int64_t panel_size, const X* x, std::int64_t row_size, std::int64_t rows, std::int64_t depth, std::int64_t out, float* y) {
  const std::int64_t count = (out + kPanel - 1) / kPanel;
#pragma omp parallel for schedule(static)
  for (std::int64_t p = 0; p < count; ++p) {
    const Weight* panel = panels + p * panel_size;
    const std::int64_t columns = std::min(kPanel, out - p * kPanel);
    alignas(64) float tile[12 * kPanel];
    for (std::int64_t first = 0; first < rows; first += t.rows) {
      const int n = static_cast<int>(std::min<std::int64_t>(t.rows, rows - first));
      if (columns == kPanel) {
        t.by_rows[n](x + first * row_size, depth, panel, y + first * out + p * kPanel, out);
        continue;
      }
      t.by_rows[n](x + first * row_size, depth, panel, tile, kPanel);
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

}  // namespace

bool has_bfloat16_products() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16"); }

bool has_int8_products() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni"); }

const char* kernel_name(Precision precision) {
  if (precision == Precision::kInt8) return "avx512-vnni";
  if (precision == Precision::kBfloat16 && has_bfloat16_products()) return "avx512-bf16";
  return isa() == Isa::kAvx512 ? "avx512" : isa() == Isa::kAvx2 ? "avx2" : "plain";
}

// Eight bits a value. One scale for 32 inputs is a poor fit where one of them is far larger than the rest, as a few always are in the inputs
// of a transformer's products: the largest input of the kOutliers blocks that gain most is split into a high part with a scale of the row's
// own, and a low part that stays in its block (compare Dettmers et al. 2022, LLM.int8()).
struct Int8Products {
  static constexpr std::int64_t kBlock = PackedMatrix::kBlock, kFours = kBlock / 4;
  static constexpr int kOutliers = 8;
  using Weights = PackedMatrix::Int8Block;

  // kBlock inputs of a row.
  struct Block {
    std::int8_t values[kBlock];
    float step;
    float total;              // of the inputs as they are rounded: what the weights' bases are multiplied with
  };

  // The high part of one input.
  struct Outlier {
    std::int32_t block, four; // panel[block].values[four] holds its weights
    std::int32_t values;      // four bytes, three of them 0
  };

  struct Row {
    const Block* blocks;
    const Outlier* outliers;  // outliers_in(blocks) of them
    float high_step;
  };

  static int outliers_in(std::int64_t blocks) { return static_cast<int>(std::min<std::int64_t>(kOutliers, blocks)); }

  static constexpr float kNothing = 1e-30f;  // a block of smaller magnitudes counts as zeros: 127 over it may not be finite

  typedef float Floats __attribute__((vector_size(64)));
  typedef std::int32_t Ints __attribute__((vector_size(64)));
  typedef std::uint32_t Words __attribute__((vector_size(64)));
  typedef std::int8_t Bytes __attribute__((vector_size(16)));
  typedef std::uint8_t UnsignedBytes __attribute__((vector_size(16)));

  [[gnu::always_inline]] static Floats load(const float* p) {
    Floats v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }

  // The nearest whole number to x, ties to even, for magnitudes up to 2^22: so far from 0 a float has no room for a fraction.
  template <class Number>
  [[gnu::always_inline]] static Number whole(Number x) { return (x + 12582912.0f) - 12582912.0f; }

  // v with its lanes moved by `lanes`, round and round.
  template <int lanes, class Lanes16>
  [[gnu::always_inline]] static Lanes16 turned(Lanes16 v) {
    Ints from;
    for (int i = 0; i < 16; ++i) from[i] = (i + lanes) % 16;
    return __builtin_shuffle(v, from);
  }

  struct Magnitudes { float largest, second; };  // equal when the largest occurs twice

  // As bits, which order magnitudes, infinity and NaN on top.
  [[gnu::always_inline]] static Magnitudes magnitudes(const float* x) {
    const Words a = (Words)load(x) & 0x7fffffffu, b = (Words)load(x + 16) & 0x7fffffffu;
    Words first = a > b ? a : b, second = a > b ? b : a;
    const auto merge = [&](Words f, Words s) __attribute__((always_inline)) {
      const Words lower = first > f ? f : first, higher = second > s ? second : s;
      first = first > f ? first : f, second = lower > higher ? lower : higher;
    };
    merge(turned<8>(first), turned<8>(second)), merge(turned<4>(first), turned<4>(second));
    merge(turned<2>(first), turned<2>(second)), merge(turned<1>(first), turned<1>(second));
    return {std::bit_cast<float>(first[0]), std::bit_cast<float>(second[0])};
  }

  // block = x in steps of which the magnitude `largest` is 127; its total as their number. What is infinite or not a number makes the step
  // not a number, and so all that comes of the block.
  [[gnu::always_inline]] static void quantise(const float* x, float largest, Block& block) {
    const bool finite = std::isfinite(largest), some = finite && largest > kNothing;
    block.step = some ? largest / 127.0f : finite ? 0.0f : NAN;
    if (!some) {
      std::memset(block.values, 0, sizeof block.values), block.total = 0;
      return;
    }
    const float inverse = 127.0f / largest;
    Ints sum = {};
    for (int half = 0; half < 2; ++half) {
      Floats v = whole(load(x + 16 * half) * inverse);
      v = v > 127.0f ? Floats{} + 127.0f : v < -127.0f ? Floats{} - 127.0f : v;
      const Ints places = __builtin_convertvector(v, Ints);
      const Bytes bytes = __builtin_convertvector(places, Bytes);
      std::memcpy(block.values + 16 * half, &bytes, sizeof bytes);
      sum += places;
    }
    sum += turned<8>(sum), sum += turned<4>(sum), sum += turned<2>(sum), sum += turned<1>(sum);
    block.total = static_cast<float>(sum[0]);
  }

  // Returns the step of the high parts.
  CAI_WIDE static float quantise_row(const float* x, std::int64_t width, Block* blocks, Outlier* outliers) {
    const std::int64_t count = (width + kBlock - 1) / kBlock;
    float last[kBlock] = {};
    if (width % kBlock) std::memcpy(last, x + width / kBlock * kBlock, static_cast<std::size_t>(width % kBlock) * sizeof(float));
    const auto input = [&](std::int64_t b) __attribute__((always_inline)) { return (b + 1) * kBlock <= width ? x + b * kBlock : last; };
    // The blocks that gain most, in order: a block's error is in proportion to the square of its largest magnitude.
    struct Gain { float gain; std::int64_t block; Magnitudes magnitudes; } best[kOutliers + 1];
    const int kept = outliers_in(count);
    for (Gain& g : best) g = {-1, 0, {}};
    for (std::int64_t b = 0; b < count; ++b) {
      const Magnitudes m = magnitudes(input(b));
      quantise(input(b), m.largest, blocks[b]);
      const float gain = m.largest * m.largest - m.second * m.second;
      if (!(gain > best[kept - 1].gain) || !std::isfinite(m.largest)) continue;
      int at = kept - 1;
      for (; at > 0 && gain > best[at - 1].gain; --at) best[at] = best[at - 1];
      best[at] = {gain, b, m};
    }
    float step = 0;
    for (int i = 0; i < kept; ++i) step = std::max(step, best[i].magnitudes.largest / 127.0f);
    float highs[kOutliers];
    for (int i = 0; i < kept; ++i) {
      const auto& [gain, b, m] = best[i];
      outliers[i] = {static_cast<std::int32_t>(b), 0, 0};
      highs[i] = 0;
      if (!(gain > 0) || !(m.largest > kNothing)) continue;
      Block& block = blocks[b];
      const float* in = input(b);
      quantise(in, m.second, block);
      std::int64_t k = 0;
      while (std::fabs(in[k]) != m.largest) ++k;
      highs[i] = whole(in[k] / step);
      const float low = block.step > 0 ? std::clamp(whole((in[k] - highs[i] * step) / block.step), -127.0f, 127.0f) : 0.0f;
      block.total += low - static_cast<float>(block.values[k]);
      block.values[k] = static_cast<std::int8_t>(low);
      const auto byte = static_cast<std::uint32_t>(static_cast<std::int32_t>(highs[i])) & 0xffu;
      outliers[i].four = static_cast<std::int32_t>(k / 4), outliers[i].values = static_cast<std::int32_t>(byte << 8 * (k % 4));
    }
    for (std::int64_t b = 0; b < count; ++b) blocks[b].total *= blocks[b].step;
    for (int i = 0; i < kept; ++i) blocks[outliers[i].block].total += highs[i] * step;
    return step;
  }

  template <int Rows>
  __attribute__((target("avx512f,avx512vnni"))) static void tile(const Row* x, std::int64_t blocks, const Weights* panel, float* y, std::int64_t stride) {
    __m512 sum[Rows][2];
#pragma GCC unroll 6
    for (int r = 0; r < Rows; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    for (std::int64_t b = 0; b < blocks; ++b) {
      const Weights& w = panel[b];
      __m512i dot[Rows][2];
#pragma GCC unroll 6
      for (int r = 0; r < Rows; ++r) dot[r][0] = dot[r][1] = _mm512_setzero_si512();
#pragma GCC unroll 8
      for (int k = 0; k < kFours; ++k) {
        const __m512i w0 = _mm512_load_si512(w.values[k]), w1 = _mm512_load_si512(w.values[k] + 16);
#pragma GCC unroll 6
        for (int r = 0; r < Rows; ++r) {
          std::int32_t four;
          std::memcpy(&four, x[r].blocks[b].values + 4 * k, 4);
          dot[r][0] = _mm512_dpbusd_epi32(dot[r][0], w0, _mm512_set1_epi32(four));
          dot[r][1] = _mm512_dpbusd_epi32(dot[r][1], w1, _mm512_set1_epi32(four));
        }
      }
      const __m512 steps0 = _mm512_load_ps(w.steps), steps1 = _mm512_load_ps(w.steps + 16), bases0 = _mm512_load_ps(w.bases), bases1 = _mm512_load_ps(w.bases + 16);
#pragma GCC unroll 6
      for (int r = 0; r < Rows; ++r) {
        const __m512 step = _mm512_set1_ps(x[r].blocks[b].step), total = _mm512_set1_ps(x[r].blocks[b].total);
        sum[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r][0]), _mm512_mul_ps(step, steps0), _mm512_fmadd_ps(total, bases0, sum[r][0]));
        sum[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r][1]), _mm512_mul_ps(step, steps1), _mm512_fmadd_ps(total, bases1, sum[r][1]));
      }
    }
    const int outliers = outliers_in(blocks);
#pragma GCC unroll 6
    for (int r = 0; r < Rows; ++r) {
      __m512 high0 = _mm512_setzero_ps(), high1 = _mm512_setzero_ps();
      for (int i = 0; i < outliers; ++i) {
        const Outlier& o = x[r].outliers[i];
        const Weights& w = panel[o.block];
        const __m512i values = _mm512_set1_epi32(o.values), none = _mm512_setzero_si512();
        const __m512i d0 = _mm512_dpbusd_epi32(none, _mm512_load_si512(w.values[o.four]), values), d1 = _mm512_dpbusd_epi32(none, _mm512_load_si512(w.values[o.four] + 16), values);
        high0 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d0), _mm512_load_ps(w.steps), high0);
        high1 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d1), _mm512_load_ps(w.steps + 16), high1);
      }
      const __m512 step = _mm512_set1_ps(x[r].high_step);
      _mm512_storeu_ps(y + r * stride, _mm512_fmadd_ps(step, high0, sum[r][0]));
      _mm512_storeu_ps(y + r * stride + 16, _mm512_fmadd_ps(step, high1, sum[r][1]));
    }
  }

  template <int... R>
  static Tiles<Row, Weights> tiles(std::integer_sequence<int, R...>) { return {sizeof...(R), {nullptr, tile<R + 1>...}}; }

  // kBlock weights of one column.
  struct Column {
    float base, range;
    int steps;                       // from the lowest weight to the highest
    std::uint8_t places[kBlock];
  };

  // Places on `steps` even steps; whether the weights lie there, to a part in 4,096 of their range.
  [[gnu::always_inline]] static bool place(const float* weights, int steps, Column& c) {
    const float scale = c.range > 0 ? static_cast<float>(steps) / c.range : 0.0f, tolerance = static_cast<float>(steps) * 0x1p-12f;
    c.steps = steps;
    Ints off = {};
    for (int half = 0; half < 2; ++half) {
      const Floats exact = (load(weights + 16 * half) - c.base) * scale, near = whole(exact), error = exact - near;
      off |= ~((error <= tolerance) & (error >= -tolerance));
      const UnsignedBytes bytes = __builtin_convertvector(__builtin_convertvector(near, Ints), UnsignedBytes);
      std::memcpy(c.places + 16 * half, &bytes, sizeof bytes);
    }
    off |= turned<8>(off), off |= turned<4>(off), off |= turned<2>(off), off |= turned<1>(off);
    return off[0] == 0;
  }

  // The column on the grid it lies on: on `likely` steps; if `search`, on those of eight bits with a sign (its largest magnitude is 127 of
  // them) or of up to five bits; else (false) on the finest one.
  CAI_WIDE static bool quantise_weights(const float* weights, int likely, bool search, Column& c) {
    const Floats a = load(weights), b = load(weights + 16);
    Floats low = a < b ? a : b, high = a < b ? b : a;
    const auto merge = [&](Floats l, Floats h) __attribute__((always_inline)) { low = l < low ? l : low, high = h > high ? h : high; };
    merge(turned<8>(low), turned<8>(high)), merge(turned<4>(low), turned<4>(high)), merge(turned<2>(low), turned<2>(high)), merge(turned<1>(low), turned<1>(high));
    c.base = low[0], c.range = high[0] - low[0];
    if (place(weights, likely, c)) return true;
    if (search) {
      const float signed_steps = whole(c.range / std::max(std::fabs(low[0]), std::fabs(high[0])) * 127.0f);
      if (signed_steps <= 255 && place(weights, static_cast<int>(signed_steps), c)) return true;
      for (int steps = 31; steps > 0; --steps)
        if (place(weights, steps, c)) return true;
    }
    place(weights, 255, c);
    return false;
  }

  // Panels, and whether they hold the weights as they are. Those that do not are of no use where `only_exact`.
  static std::pair<std::vector<Weights>, bool> pack(const std::vector<const float*>& rows, std::int64_t in, bool only_exact) {
    const std::int64_t out = static_cast<std::int64_t>(rows.size()), blocks = (in + kBlock - 1) / kBlock, count = (out + kPanel - 1) / kPanel;
    std::vector<Weights> panels(static_cast<std::size_t>(count * blocks));
    bool exact = true;
#pragma omp parallel for schedule(static) reduction(&& : exact)
    for (std::int64_t p = 0; p < count; ++p) {
      Column c{.base = 0, .range = 0, .steps = 15, .places = {}};  // four bits' grid first, then that of the column before
      for (std::int64_t b = 0; b < blocks && (exact || !only_exact); ++b) {
        Weights& w = panels[static_cast<std::size_t>(p * blocks + b)];
        for (std::int64_t j = 0; j < std::min(kPanel, out - p * kPanel); ++j) {
          const float* weights = rows[static_cast<std::size_t>(p * kPanel + j)] + b * kBlock;
          float filled[kBlock];
          if (const std::int64_t n = in - b * kBlock; n < kBlock) {
            for (std::int64_t i = 0; i < kBlock; ++i) filled[i] = weights[std::min(i, n - 1)];  // what fills up a block meets inputs that are 0
            weights = filled;
          }
          exact = quantise_weights(weights, c.steps, exact, c) && exact;
          w.bases[j] = c.base, w.steps[j] = c.range / static_cast<float>(c.steps);
          for (std::int64_t k = 0; k < kFours; ++k) std::memcpy(w.values[k][j], c.places + 4 * k, 4);
        }
      }
    }
    return {std::move(panels), exact};
  }

  static void multiply(const std::vector<Weights>& panels, std::int64_t in, const float* x, std::int64_t rows, std::int64_t first, std::int64_t count, float* y) {
    const std::int64_t blocks = (in + kBlock - 1) / kBlock, outliers = outliers_in(blocks);
    const std::unique_ptr<Block[]> inputs(new Block[static_cast<std::size_t>(rows * blocks)]);
    const std::unique_ptr<Outlier[]> high(new Outlier[static_cast<std::size_t>(rows * outliers)]);
    std::vector<Row> quantised(static_cast<std::size_t>(rows));
#pragma omp parallel for schedule(static) if (rows >= 8)
    for (std::int64_t r = 0; r < rows; ++r) {
      Block* const own = inputs.get() + r * blocks;
      Outlier* const own_high = high.get() + r * outliers;
      quantised[static_cast<std::size_t>(r)] = {own, own_high, quantise_row(x + r * in, in, own, own_high)};
    }
    static const Tiles<Row, Weights> t = tiles(std::make_integer_sequence<int, 6>());
    multiply_panels(t, panels.data() + first / kPanel * blocks, blocks, quantised.data(), 1, rows, blocks, count, y);
  }
};

PackedMatrix::PackedMatrix(std::span<const float* const> parts, std::span<const std::int64_t> outs, std::int64_t in, Precision precision) : in_(in) {
  std::vector<const float*> rows;
  for (std::size_t p = 0; p < parts.size(); ++p)
    for (std::int64_t r = 0; r < outs[p]; ++r) rows.push_back(parts[p] + r * in);
  out_ = static_cast<std::int64_t>(rows.size());
  const std::int64_t count = (out_ + kPanel - 1) / kPanel;
  // value(row, k): element k of a panel's column, for k below `depth`.
  const auto fill = [&]<class Panels>(Panels panels, std::int64_t depth, auto value) {
    panels.resize(static_cast<std::size_t>(count * depth * kPanel));
#pragma omp parallel for schedule(static)
    for (std::int64_t p = 0; p < count; ++p) {
      auto* panel = panels.data() + p * depth * kPanel;
      const std::int64_t columns = std::min(kPanel, out_ - p * kPanel);
      for (std::int64_t j = 0; j < columns; ++j)
        for (std::int64_t k = 0; k < depth; ++k) panel[k * kPanel + j] = value(rows[static_cast<std::size_t>(p * kPanel + j)], k);
    }
    return panels;
  };
  if (precision == Precision::kInt8 && !has_int8_products()) throw Bug("products of eight bits on a CPU without AVX512-VNNI");
  if (precision == Precision::kInt8 || (precision == Precision::kAuto && has_int8_products())) {
    auto [blocks, exact] = Int8Products::pack(rows, in, precision == Precision::kAuto);
    if (exact || precision == Precision::kInt8) {
      panels_ = std::move(blocks);
      return;
    }
  }
  if (precision == Precision::kFloat32 || (precision == Precision::kAuto && !has_bfloat16_products())) panels_ = fill(Floats(), in, [](const float* row, std::int64_t k) { return row[k]; });
  else if (!has_bfloat16_products()) panels_ = fill(Halves(), in, [](const float* row, std::int64_t k) { return to_bfloat16(row[k]); });
  else panels_ = fill(Pairs(), (in + 1) / 2, [in](const float* row, std::int64_t k) { return pair_of(row[2 * k], 2 * k + 1 < in ? row[2 * k + 1] : 0.0f); });
}

void PackedMatrix::multiply(const float* x, std::int64_t rows, std::int64_t first, std::int64_t count, float* y) const {
  if (const auto* floats = std::get_if<Floats>(&panels_)) {
    multiply_panels(tiles<float>(), floats->data() + first * in_, in_ * kPanel, x, in_, rows, in_, count, y);
  } else if (const auto* halves = std::get_if<Halves>(&panels_)) {
    multiply_panels(tiles<std::uint16_t>(), halves->data() + first * in_, in_ * kPanel, x, in_, rows, in_, count, y);
  } else if (const auto* blocks = std::get_if<Int8Blocks>(&panels_)) {
    Int8Products::multiply(*blocks, in_, x, rows, first, count, y);
  } else {
    const std::int64_t pairs = (in_ + 1) / 2;
    const std::unique_ptr<std::uint32_t[]> rounded(new std::uint32_t[static_cast<std::size_t>(rows * pairs)]);
#pragma omp parallel for schedule(static) if (rows >= 8)
    for (std::int64_t r = 0; r < rows; ++r) to_pairs(x + r * in_, in_, rounded.get() + r * pairs);
    static const Tiles<std::uint32_t, std::uint32_t> t = tiles_pairs(std::make_integer_sequence<int, 12>());
    multiply_panels(t, std::get<Pairs>(panels_).data() + first * pairs, pairs * kPanel, rounded.get(), pairs, rows, pairs, count, y);
  }
}

}  // namespace cai
