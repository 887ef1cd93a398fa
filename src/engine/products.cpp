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
#include "cai/engine/bfloat16.hpp"
#include "cai/engine/panels.hpp"

namespace cai {
namespace {

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

}  // namespace

bool has_bfloat16_products() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16"); }

bool has_int8_products() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni"); }

const char* kernel_name(Precision precision) {
  if (precision == Precision::kInt8) return "avx512-vnni";
  if (precision == Precision::kBfloat16 && has_bfloat16_products()) return "avx512-bf16";
  return isa() == Isa::kAvx512 ? "avx512" : isa() == Isa::kAvx2 ? "avx2" : "plain";
}

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
    auto [blocks, exact] = pack_int8(rows, in, precision == Precision::kAuto);
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
    multiply_int8(*blocks, in_, x, rows, first, count, y);
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
