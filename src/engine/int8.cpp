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

// All of it runs where has_int8_products().
#define CAI_VNNI __attribute__((target("avx512f,avx512vnni")))

namespace cai {
namespace {

// Eight bits a value. One scale for 32 inputs is a poor fit where one of them is far larger than the rest, as
// a few always are in the inputs of a transformer's products: the largest input of the kOutliers blocks that
// gain most is split into a high part with a scale of the row's own, and a low part that stays in its block
// (compare Dettmers et al. 2022, LLM.int8()).
struct Int8Products {
  static constexpr std::int64_t kBlock = kInt8Block, kFours = kBlock / 4;
  static constexpr int kOutliers = 8;
  using Weights = Int8Block;

  // kBlock inputs of a row.
  struct Block {
    std::int8_t values[kBlock];
    float step;
    float total;  // of the inputs as they are rounded: what the weights' bases are multiplied with
  };

  // The high part of one input.
  struct Outlier {
    std::int32_t block, four;  // panel[block].values[four] holds its weights
    std::int32_t values;       // four bytes, three of them 0
  };

  struct Row {
    const Block* blocks;
    const Outlier* outliers;  // outliers_in(blocks) of them
    float high_step;
  };

  static int outliers_in(std::int64_t blocks) {
    return static_cast<int>(std::min<std::int64_t>(kOutliers, blocks));
  }

  static constexpr float kNothing =
      1e-30f;  // a block of smaller magnitudes counts as zeros: 127 over it may not be finite

  // The nearest whole number to x, ties to even, for magnitudes up to 2^22: so far from 0 a float has no room
  // for a fraction.
  template <class Number>
  [[gnu::always_inline]] static Number whole(Number x) {
    return (x + 12582912.0f) - 12582912.0f;
  }

  struct Magnitudes {
    float largest, second;
  };  // equal when the largest occurs twice

  // As bits, which order magnitudes, infinity and NaN on top.
  CAI_VNNI static Magnitudes magnitudes(const float* x) {
    const __m512i a = _mm512_and_epi32(_mm512_loadu_si512(x), _mm512_set1_epi32(0x7fffffff)),
                  b = _mm512_and_epi32(_mm512_loadu_si512(x + 16), _mm512_set1_epi32(0x7fffffff));
    const __m512i first16 = _mm512_max_epu32(a, b), second16 = _mm512_min_epu32(a, b);
    const __m256i f = _mm512_castsi512_si256(first16), g = _mm512_extracti64x4_epi64(first16, 1);
    const __m256i first8 = _mm256_max_epu32(f, g);
    const __m256i second8 = _mm256_max_epu32(
        _mm256_min_epu32(f, g),
        _mm256_max_epu32(_mm512_castsi512_si256(second16), _mm512_extracti64x4_epi64(second16, 1)));
    __m128i first = _mm256_castsi256_si128(first8), second = _mm256_castsi256_si128(second8);
    const auto merge = [&](__m128i other_first, __m128i other_second) CAI_VNNI {
      second = _mm_max_epu32(_mm_min_epu32(first, other_first), _mm_max_epu32(second, other_second));
      first = _mm_max_epu32(first, other_first);
    };
    merge(_mm256_extracti128_si256(first8, 1), _mm256_extracti128_si256(second8, 1));
    merge(_mm_shuffle_epi32(first, 0x4e), _mm_shuffle_epi32(second, 0x4e));
    merge(_mm_shuffle_epi32(first, 0xb1), _mm_shuffle_epi32(second, 0xb1));
    return {std::bit_cast<float>(_mm_cvtsi128_si32(first)), std::bit_cast<float>(_mm_cvtsi128_si32(second))};
  }

  // block = x in steps of which the magnitude `largest` is 127; its total as their number. What is infinite
  // or not a number makes the step not a number, and so all that comes of the block.
  CAI_VNNI static void quantise(const float* x, float largest, float step, float inverse, Block& block) {
    const bool finite = std::isfinite(largest), some = finite && largest > kNothing;
    block.step = some ? step : finite ? 0.0f : NAN;
    if (!some) {
      std::memset(block.values, 0, sizeof block.values), block.total = 0;
      return;
    }
    const __m512 scale = _mm512_set1_ps(inverse), most = _mm512_set1_ps(127), least = _mm512_set1_ps(-127);
    const auto places = [&](const float* from) CAI_VNNI {
      return _mm512_cvtps_epi32(
          _mm512_max_ps(_mm512_min_ps(_mm512_mul_ps(_mm512_loadu_ps(from), scale), most), least));
    };
    const __m512i low = places(x), high = places(x + 16);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(block.values), _mm512_cvtepi32_epi8(low));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(block.values + 16), _mm512_cvtepi32_epi8(high));
    block.total = static_cast<float>(_mm512_reduce_add_epi32(_mm512_add_epi32(low, high)));
  }

  // Returns the step of the high parts.
  CAI_VNNI static float quantise_row(const float* x, std::int64_t width, Block* blocks, Outlier* outliers) {
    const std::int64_t count = (width + kBlock - 1) / kBlock, room = (count + 15) / 16 * 16;
    float last[kBlock] = {};
    if (width % kBlock)
      std::memcpy(last, x + width / kBlock * kBlock,
                  static_cast<std::size_t>(width % kBlock) * sizeof(float));
    const auto input = [&](std::int64_t b) { return (b + 1) * kBlock <= width ? x + b * kBlock : last; };
    thread_local std::vector<float> numbers;
    numbers.assign(static_cast<std::size_t>(5 * room), 0.0f);
    float *const largest = numbers.data(), *const second = largest + room, *const gains = second + room,
                 *const steps = gains + room, *const inverses = steps + room;
    for (std::int64_t b = 0; b < count; ++b) {
      const Magnitudes m = magnitudes(input(b));
      largest[b] = m.largest, second[b] = m.second;
    }
    const __m512 none = _mm512_set1_ps(-1), seven_bits = _mm512_set1_ps(127);
    for (std::int64_t b = 0; b < room; b += 16) {
      const __m512 l = _mm512_loadu_ps(largest + b), s = _mm512_loadu_ps(second + b),
                   gain = _mm512_sub_ps(_mm512_mul_ps(l, l), _mm512_mul_ps(s, s));
      const __mmask16 is_one = _mm512_cmp_ps_mask(gain, _mm512_setzero_ps(), _CMP_GE_OQ) &
                               _mm512_cmp_ps_mask(l, _mm512_set1_ps(INFINITY), _CMP_LT_OQ) &
                               (b + 16 <= count ? 0xffff : (1 << (count - b)) - 1);
      _mm512_storeu_ps(gains + b, _mm512_mask_mov_ps(none, is_one, gain));
      _mm512_storeu_ps(steps + b, _mm512_div_ps(l, seven_bits)),
          _mm512_storeu_ps(inverses + b, _mm512_div_ps(seven_bits, l));
    }
    for (std::int64_t b = 0; b < count; ++b)
      quantise(input(b), largest[b], steps[b], inverses[b], blocks[b]);
    // The blocks that gain most, in order: a block's error is in proportion to the square of its largest
    // magnitude.
    struct {
      float gain;
      std::int64_t block;
    } best[kOutliers];
    const int kept = outliers_in(count);
    float step = 0;
    for (int i = 0; i < kept; ++i) {
      __m512 most = none;
      for (std::int64_t b = 0; b < room; b += 16)
        most = _mm512_max_ps(most, _mm512_loadu_ps(gains + b));
      best[i] = {_mm512_reduce_max_ps(most), 0};
      if (best[i].gain < 0) continue;
      std::int64_t from = 0;
      __mmask16 equal;
      while (!(equal = _mm512_cmp_ps_mask(_mm512_loadu_ps(gains + from), _mm512_set1_ps(best[i].gain),
                                          _CMP_EQ_OQ)))
        from += 16;
      best[i].block = from + std::countr_zero(static_cast<unsigned>(equal));
      gains[best[i].block] = -1;
      step = std::max(step, steps[best[i].block]);
    }
    float highs[kOutliers];
    for (int i = 0; i < kept; ++i) {
      const auto [gain, b] = best[i];
      outliers[i] = {static_cast<std::int32_t>(b), 0, 0};
      highs[i] = 0;
      if (!(gain > 0) || !(largest[b] > kNothing)) continue;
      Block& block = blocks[b];
      const float* in = input(b);
      quantise(in, second[b], second[b] / 127.0f, 127.0f / second[b], block);
      std::int64_t k = 0;
      while (std::fabs(in[k]) != largest[b])
        ++k;
      highs[i] = whole(in[k] / step);
      const float low =
          block.step > 0 ? std::clamp(whole((in[k] - highs[i] * step) / block.step), -127.0f, 127.0f) : 0.0f;
      block.total += low - static_cast<float>(block.values[k]);
      block.values[k] = static_cast<std::int8_t>(low);
      const auto byte = static_cast<std::uint32_t>(static_cast<std::int32_t>(highs[i])) & 0xffu;
      outliers[i].four = static_cast<std::int32_t>(k / 4),
      outliers[i].values = static_cast<std::int32_t>(byte << 8 * (k % 4));
    }
    for (std::int64_t b = 0; b < count; ++b)
      blocks[b].total *= blocks[b].step;
    for (int i = 0; i < kept; ++i)
      blocks[outliers[i].block].total += highs[i] * step;
    return step;
  }

  template <int Rows>
  CAI_VNNI static void tile(const Row* x, std::int64_t blocks, const Weights* panel, float* y,
                            std::int64_t stride) {
    __m512 sum[Rows][2];
#pragma GCC unroll 6
    for (int r = 0; r < Rows; ++r)
      sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    for (std::int64_t b = 0; b < blocks; ++b) {
      const Weights& w = panel[b];
      __m512i dot[Rows][2];
#pragma GCC unroll 6
      for (int r = 0; r < Rows; ++r)
        dot[r][0] = dot[r][1] = _mm512_setzero_si512();
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
      const __m512 steps0 = _mm512_load_ps(w.steps), steps1 = _mm512_load_ps(w.steps + 16),
                   bases0 = _mm512_load_ps(w.bases), bases1 = _mm512_load_ps(w.bases + 16);
#pragma GCC unroll 6
      for (int r = 0; r < Rows; ++r) {
        const __m512 step = _mm512_set1_ps(x[r].blocks[b].step), total = _mm512_set1_ps(x[r].blocks[b].total);
        sum[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r][0]), _mm512_mul_ps(step, steps0),
                                    _mm512_fmadd_ps(total, bases0, sum[r][0]));
        sum[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r][1]), _mm512_mul_ps(step, steps1),
                                    _mm512_fmadd_ps(total, bases1, sum[r][1]));
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
        const __m512i d0 = _mm512_dpbusd_epi32(none, _mm512_load_si512(w.values[o.four]), values),
                      d1 = _mm512_dpbusd_epi32(none, _mm512_load_si512(w.values[o.four] + 16), values);
        high0 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d0), _mm512_load_ps(w.steps), high0);
        high1 = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d1), _mm512_load_ps(w.steps + 16), high1);
      }
      const __m512 step = _mm512_set1_ps(x[r].high_step);
      _mm512_storeu_ps(y + r * stride, _mm512_fmadd_ps(step, high0, sum[r][0]));
      _mm512_storeu_ps(y + r * stride + 16, _mm512_fmadd_ps(step, high1, sum[r][1]));
    }
  }

  template <int... R>
  static Tiles<Row, Weights> tiles(std::integer_sequence<int, R...>) {
    return {sizeof...(R), {nullptr, tile<R + 1>...}};
  }

  // kBlock weights of one column.
  struct Column {
    float base, range;
    int steps;  // from the lowest weight to the highest
    std::uint8_t places[kBlock];
  };

  // Places on `steps` even steps; whether the weights lie there, to a part in 4,096 of their range.
  CAI_VNNI static bool place(__m512 low, __m512 high, int steps, Column& c) {
    const __m512 base = _mm512_set1_ps(c.base),
                 scale = _mm512_set1_ps(c.range > 0 ? static_cast<float>(steps) / c.range : 0.0f),
                 tolerance = _mm512_set1_ps(static_cast<float>(steps) * 0x1p-12f);
    c.steps = steps;
    const auto is_near = [&](__m512 weights, std::uint8_t* places) CAI_VNNI {
      const __m512 exact = _mm512_mul_ps(_mm512_sub_ps(weights, base), scale),
                   near = _mm512_roundscale_ps(exact, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(places), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(near)));
      return _mm512_cmp_ps_mask(_mm512_abs_ps(_mm512_sub_ps(exact, near)), tolerance, _CMP_LE_OQ) == 0xffff;
    };
    const bool first = is_near(low, c.places), second = is_near(high, c.places + 16);
    return first && second;
  }

  // The column on the grid it lies on: on `likely` steps, on those of eight bits with a sign (its largest
  // magnitude is 127 of them) or of up to five bits; else (false) on the finest one.
  CAI_VNNI static bool quantise_weights(const float* weights, int likely, Column& c) {
    const __m512 a = _mm512_loadu_ps(weights), b = _mm512_loadu_ps(weights + 16);
    const float least = _mm512_reduce_min_ps(_mm512_min_ps(a, b)),
                most = _mm512_reduce_max_ps(_mm512_max_ps(a, b));
    c.base = least, c.range = most - least;
    if (place(a, b, likely, c)) return true;
    const float signed_steps = whole(c.range / std::max(std::fabs(least), std::fabs(most)) * 127.0f);
    if (signed_steps <= 255 && place(a, b, static_cast<int>(signed_steps), c)) return true;
    for (int steps = 31; steps > 0; --steps)
      if (place(a, b, steps, c)) return true;
    place(a, b, 255, c);
    return false;
  }

  static std::pair<std::vector<Weights>, bool> pack(const std::vector<const float*>& rows, std::int64_t in,
                                                    bool only_exact) {
    const std::int64_t out = static_cast<std::int64_t>(rows.size()), blocks = (in + kBlock - 1) / kBlock,
                       count = (out + kPanel - 1) / kPanel;
    std::vector<Weights> panels(static_cast<std::size_t>(count * blocks));
    bool exact = true;
#pragma omp parallel for schedule(dynamic, 4) reduction(&& : exact)
    for (std::int64_t p = 0; p < count; ++p) {
      Column c{.base = 0,
               .range = 0,
               .steps = 15,
               .places = {}};  // four bits' grid first, then that of the column before
      for (std::int64_t b = 0; b < blocks && (exact || !only_exact); ++b) {
        Weights& w = panels[static_cast<std::size_t>(p * blocks + b)];
        for (std::int64_t j = 0; j < std::min(kPanel, out - p * kPanel); ++j) {
          const float* const row = rows[static_cast<std::size_t>(p * kPanel + j)];
          if (!row) continue;
          const float* weights = row + b * kBlock;
          float filled[kBlock];
          if (const std::int64_t n = in - b * kBlock; n < kBlock) {
            for (std::int64_t i = 0; i < kBlock; ++i)
              filled[i] = weights[std::min(i, n - 1)];  // what fills up a block meets inputs that are 0
            weights = filled;
          }
          exact = quantise_weights(weights, c.steps, c) && exact;
          w.bases[j] = c.base, w.steps[j] = c.range / static_cast<float>(c.steps);
          for (std::int64_t k = 0; k < kFours; ++k)
            std::memcpy(w.values[k][j], c.places + 4 * k, 4);
        }
      }
    }
    return {std::move(panels), exact};
  }

  static void multiply(const Weights* panels, std::int64_t in, const float* x, std::int64_t rows,
                       Results results) {
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
    multiply_panels(t, panels, blocks, quantised.data(), 1, rows, blocks, results);
  }
};

}  // namespace

std::pair<std::vector<Int8Block>, bool> pack_int8(const std::vector<const float*>& rows, std::int64_t in,
                                                  bool only_exact) {
  return Int8Products::pack(rows, in, only_exact);
}

void multiply_int8(const Int8Block* panels, std::int64_t in, const float* x, std::int64_t rows,
                   Results results) {
  Int8Products::multiply(panels, in, x, rows, results);
}

}  // namespace cai
