#include "cai/engine/int8.hpp"

// GCC 12 warns about its own undefined-value intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>

// Compiled for each width of vector registers, chosen at load time; no contraction, so all give the same bits.
#define CAI_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))

namespace cai {
namespace {

// Eight bits a value. One scale for 32 inputs is a poor fit where one of them is far larger than the rest, as a few always are in the inputs
// of a transformer's products: the largest input of the kOutliers blocks that gain most is split into a high part with a scale of the row's
// own, and a low part that stays in its block (compare Dettmers et al. 2022, LLM.int8()).
struct Int8Products {
  static constexpr std::int64_t kBlock = kInt8Block, kFours = kBlock / 4;
  static constexpr int kOutliers = 8;
  using Weights = Int8Block;

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

  // The column on the grid it lies on: on `likely` steps, on those of eight bits with a sign (its largest magnitude is 127 of them) or of up to
  // five bits; else (false) on the finest one.
  CAI_WIDE static bool quantise_weights(const float* weights, int likely, Column& c) {
    const Floats a = load(weights), b = load(weights + 16);
    Floats low = a < b ? a : b, high = a < b ? b : a;
    const auto merge = [&](Floats l, Floats h) __attribute__((always_inline)) { low = l < low ? l : low, high = h > high ? h : high; };
    merge(turned<8>(low), turned<8>(high)), merge(turned<4>(low), turned<4>(high)), merge(turned<2>(low), turned<2>(high)), merge(turned<1>(low), turned<1>(high));
    c.base = low[0], c.range = high[0] - low[0];
    if (place(weights, likely, c)) return true;
    const float signed_steps = whole(c.range / std::max(std::fabs(low[0]), std::fabs(high[0])) * 127.0f);
    if (signed_steps <= 255 && place(weights, static_cast<int>(signed_steps), c)) return true;
    for (int steps = 31; steps > 0; --steps)
      if (place(weights, steps, c)) return true;
    place(weights, 255, c);
    return false;
  }

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
          exact = quantise_weights(weights, c.steps, c) && exact;
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

}  // namespace

std::pair<std::vector<Int8Block>, bool> pack_int8(const std::vector<const float*>& rows, std::int64_t in, bool only_exact) { return Int8Products::pack(rows, in, only_exact); }

void multiply_int8(const std::vector<Int8Block>& panels, std::int64_t in, const float* x, std::int64_t rows, std::int64_t first, std::int64_t count, float* y) {
  Int8Products::multiply(panels, in, x, rows, first, count, y);
}

}  // namespace cai
