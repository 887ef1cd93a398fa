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
#include <new>
#include <utility>

#include "cai/base/error.hpp"
#include "cai/base/amx.hpp"
#include "cai/base/bfloat16.hpp"
#include "cai/engine/panels.hpp"

namespace cai {
namespace {

__attribute__((target("avx512f"), always_inline)) inline __m512 load16(const float* p) {
  return _mm512_loadu_ps(p);
}
__attribute__((target("avx512f"), always_inline)) inline __m512 load16(const std::uint16_t* p) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}
__attribute__((target("avx2,fma"), always_inline)) inline __m256 load8(const float* p) {
  return _mm256_loadu_ps(p);
}
__attribute__((target("avx2,fma"), always_inline)) inline __m256 load8(const std::uint16_t* p) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
inline float load1(const float* p) {
  return *p;
}
inline float load1(const std::uint16_t* p) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(*p) << 16);
}

// One tile: `Rows` rows of x against one panel of float32 or bfloat16 weights. The accumulators stay in
// registers, each summed over k in order.
template <int Rows, class Weight>
__attribute__((target("avx512f"))) void tile_avx512(const float* x, std::int64_t in, const Weight* panel,
                                                    float* y, std::int64_t stride) {
  __m512 sum[Rows][2];
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r)
    sum[r][0] = sum[r][1] = _mm512_setzero_ps();
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

// As above on pairs of bfloat16 along k: a product of two pairs and its sum is one instruction. x: [rows,
// pairs], panel: [pairs, kPanel].
template <int Rows>
__attribute__((target("avx512f,avx512bf16"))) void tile_pairs(const std::uint32_t* x, std::int64_t pairs,
                                                              const std::uint32_t* panel, float* y,
                                                              std::int64_t stride) {
  __m512 sum[Rows][2];
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r)
    sum[r][0] = sum[r][1] = _mm512_setzero_ps();
  for (std::int64_t k = 0; k < pairs; ++k) {
    const __m512bh b0 = (__m512bh)_mm512_loadu_si512(panel + k * kPanel),
                   b1 = (__m512bh)_mm512_loadu_si512(panel + k * kPanel + 16);
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

// In tiles: `Count` of kTileRows rows, each laid [pairs / kTilePairs, kTileRows, kTilePairs], times one
// panel. Each sum grows along k in order, by 32 products at a time. A tile is loaded for the next step as
// soon as this one has taken it. Meanwhile `lines` cache lines a step are fetched from `next` on, and the
// lines that the results will go to, `to_stride` apart from `to` on (nullptr: none): both are far away, and
// the CPU does not guess the way.
template <int Count>
__attribute__((target("avx512f,avx512bf16"))) void tile_amx(const std::uint32_t* x, std::int64_t pairs,
                                                            const std::uint32_t* panel,
                                                            const std::uint32_t* next, std::int64_t lines,
                                                            float* to, std::int64_t to_stride, float* y,
                                                            std::int64_t stride) {
  TileRegisters::clear<0, 1>();
  if constexpr (Count == 2) TileRegisters::clear<2, 3>();
  TileRegisters::load<6>(panel, kPanel);
  TileRegisters::load<4>(x, kTilePairs);
  TileRegisters::load<7>(panel + 16, kPanel);
  if constexpr (Count == 2) TileRegisters::load<5>(x + pairs * kTileRows, kTilePairs);
  for (std::int64_t k = kTilePairs; k < pairs; k += kTilePairs) {
    for (std::int64_t l = 0; l < lines; ++l, next += 16)
      _mm_prefetch(next, _MM_HINT_T1);
    if (to && k / kTilePairs * 2 <= Count * kTileRows)
      for (int r = 0; r < 2; ++r, to += to_stride)
        __builtin_prefetch(to, 1), __builtin_prefetch(to + 16, 1);
    TileRegisters::multiply<0, 4, 6>();
    TileRegisters::multiply<1, 4, 7>();
    TileRegisters::load<4>(x + k * kTileRows, kTilePairs);
    if constexpr (Count == 2) TileRegisters::multiply<2, 5, 6>();
    TileRegisters::load<6>(panel + k * kPanel, kPanel);
    if constexpr (Count == 2) {
      TileRegisters::multiply<3, 5, 7>();
      TileRegisters::load<5>(x + (pairs + k) * kTileRows, kTilePairs);
    }
    TileRegisters::load<7>(panel + k * kPanel + 16, kPanel);
  }
  for (std::int64_t l = 0; l < lines; ++l, next += 16)
    _mm_prefetch(next, _MM_HINT_T1);
  TileRegisters::multiply<0, 4, 6>();
  TileRegisters::multiply<1, 4, 7>();
  if constexpr (Count == 2) {
    TileRegisters::multiply<2, 5, 6>();
    TileRegisters::multiply<3, 5, 7>();
  }
  TileRegisters::store<0>(y, stride);
  TileRegisters::store<1>(y + 16, stride);
  if constexpr (Count == 2) {
    TileRegisters::store<2>(y + kTileRows * stride, stride);
    TileRegisters::store<3>(y + kTileRows * stride + 16, stride);
  }
}

// As multiply_panels, in tiles: x is Inputs'.
__attribute__((target("avx512f,avx512bf16"))) void multiply_amx(const std::uint32_t* panels,
                                                                const std::uint32_t* x, std::int64_t pairs,
                                                                std::int64_t rows, Results results) {
  const std::int64_t count = results.panels(), tiles = (rows + kTileRows - 1) / kTileRows,
                     passes = (tiles + 1) / 2;
  const std::int64_t lines = (kTilePairs * kPanel * 4 / 64 + passes - 1) /
                             passes;  // all of the next panel in as many passes as this one takes
  const std::int64_t height =
      std::min(rows, kTileRows);  // the last of many tiles is whole: what stands above the rows goes nowhere
#pragma omp parallel
  {
    const TileRegisters registers(height);
    alignas(64) float sums[2 * kTileRows * kPanel];
#pragma omp for schedule(static)
    for (std::int64_t p = 0; p < count; ++p) {
      const std::uint32_t* const panel = panels + p * pairs * kPanel;
      for (std::int64_t pass = 0; pass < passes; ++pass) {
        const std::int64_t first = pass * 2 * kTileRows, n = std::min(2 * kTileRows, rows - first);
        const bool whole = results.takes_whole(p) && (n % kTileRows == 0 || rows < kTileRows);
        (n > kTileRows ? tile_amx<2> : tile_amx<1>)(x + first * pairs, pairs, panel,
                                                    panel + pairs * kPanel + pass * pairs * lines, lines,
                                                    results.next ? nullptr : results.at(first, p),
                                                    results.width, whole ? results.at(first, p) : sums,
                                                    whole ? results.width : kPanel);
        if (!whole) results.take(sums, n, first, p);
      }
    }
  }
}

// Half a panel at a time: 6 rows x 16 columns fill the sixteen registers of AVX2.
template <int Rows, class Weight>
__attribute__((target("avx2,fma"))) void tile_avx2(const float* x, std::int64_t in, const Weight* panel,
                                                   float* y, std::int64_t stride) {
  for (int half = 0; half < 2; ++half) {
    const Weight* b = panel + half * 16;
    __m256 sum[Rows][2];
#pragma GCC unroll 6
    for (int r = 0; r < Rows; ++r)
      sum[r][0] = sum[r][1] = _mm256_setzero_ps();
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
    for (std::int64_t j = 0; j < kPanel; ++j)
      y[j] += x[k] * load1(panel + k * kPanel + j);
}

enum class Isa { kPlain, kAvx2, kAvx512 };

Isa isa() {
  static const Isa best = __builtin_cpu_supports("avx512f")                                 ? Isa::kAvx512
                          : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? Isa::kAvx2
                                                                                            : Isa::kPlain;
  return best;
}

template <class W, int... R>
Tiles<float, W> tiles_avx512(std::integer_sequence<int, R...>) {
  return {sizeof...(R), {nullptr, tile_avx512<R + 1, W>...}};
}
template <class W, int... R>
Tiles<float, W> tiles_avx2(std::integer_sequence<int, R...>) {
  return {sizeof...(R), {nullptr, tile_avx2<R + 1, W>...}};
}
template <int... R>
Tiles<std::uint32_t, std::uint32_t> tiles_pairs(std::integer_sequence<int, R...>) {
  return {sizeof...(R), {nullptr, tile_pairs<R + 1>...}};
}

template <class Weight>
const Tiles<float, Weight>& tiles() {
  static const Tiles<float, Weight> best =
      isa() == Isa::kAvx512 ? tiles_avx512<Weight>(std::make_integer_sequence<int, 12>())
      : isa() == Isa::kAvx2 ? tiles_avx2<Weight>(std::make_integer_sequence<int, 6>())
                            : Tiles<float, Weight>{1, {nullptr, tile_plain<Weight>}};
  return best;
}

// Of a row: filled up with zeros, which change no sum.
std::int64_t pairs_of(std::int64_t in) {
  return ((in + 1) / 2 + kTilePairs - 1) / kTilePairs * kTilePairs;
}

std::vector<const float*> rows_of(std::span<const float* const> parts, std::span<const std::int64_t> outs,
                                  std::int64_t in) {
  std::vector<const float*> rows;
  for (std::size_t p = 0; p < parts.size(); ++p)
    for (std::int64_t r = 0; r < outs[p]; ++r)
      rows.push_back(parts[p] + r * in);
  return rows;
}

}  // namespace

bool has_bfloat16_products() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16");
}

bool has_int8_products() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni");
}

bool prefers_int8() {
  return has_int8_products() && !has_amx();
}

const char* kernel_name(Precision precision) {
  if (precision == Precision::kInt8) return "avx512-vnni";
  if (precision == Precision::kBfloat16 && has_bfloat16_products())
    return has_amx() ? "amx-bf16" : "avx512-bf16";
  return isa() == Isa::kAvx512 ? "avx512" : isa() == Isa::kAvx2 ? "avx2" : "plain";
}

PackedMatrix::PackedMatrix(std::span<const float* const> parts, std::span<const std::int64_t> outs,
                           std::int64_t in, Precision precision)
    : PackedMatrix(rows_of(parts, outs, in), in, precision) {}

PackedMatrix PackedMatrix::gated(const float* gate, const float* up, std::int64_t width, std::int64_t in,
                                 Precision precision) {
  std::vector<const float*> rows;
  for (std::int64_t first = 0; first < width; first += kGated)
    for (const float* part : {gate, up})
      for (std::int64_t r = first; r < first + kGated; ++r)
        rows.push_back(r < width ? part + r * in : nullptr);
  PackedMatrix m(rows, in, precision);
  m.out_ = width, m.gated_ = true;
  return m;
}

PackedMatrix::PackedMatrix(const std::vector<const float*>& rows, std::int64_t in, Precision precision)
    : in_(in), out_(static_cast<std::int64_t>(rows.size())) {
  const std::int64_t count = (out_ + kPanel - 1) / kPanel;
  // value(row, k): element k of a panel's column, for k below `depth`.
  const auto fill = [&]<class Panels>(Panels panels, std::int64_t depth, auto value) {
    panels.resize(static_cast<std::size_t>(count * depth * kPanel));
#pragma omp parallel for schedule(static)
    for (std::int64_t p = 0; p < count; ++p) {
      auto* panel = panels.data() + p * depth * kPanel;
      const std::int64_t columns = std::min(kPanel, out_ - p * kPanel);
      for (std::int64_t j = 0; j < columns; ++j)
        if (const float* const row = rows[static_cast<std::size_t>(p * kPanel + j)])
          for (std::int64_t k = 0; k < depth; ++k)
            panel[k * kPanel + j] = value(row, k);
    }
    return panels;
  };
  if (precision == Precision::kInt8 && !has_int8_products())
    throw Bug("products of eight bits on a CPU without AVX512-VNNI");
  if (precision == Precision::kInt8 || (precision == Precision::kAuto && prefers_int8())) {
    auto [blocks, exact] = pack_int8(rows, in, precision == Precision::kAuto);
    if (exact || precision == Precision::kInt8) {
      panels_ = std::move(blocks);
      return;
    }
  }
  if (precision == Precision::kFloat32 || (precision == Precision::kAuto && !has_bfloat16_products()))
    panels_ = fill(Floats(), in, [](const float* row, std::int64_t k) { return row[k]; });
  else if (!has_bfloat16_products())
    panels_ = fill(Halves(), in, [](const float* row, std::int64_t k) { return to_bfloat16(row[k]); });
  else
    panels_ = fill(Pairs(), pairs_of(in), [in](const float* row, std::int64_t k) {
      return 2 * k < in ? pair_of(row[2 * k], 2 * k + 1 < in ? row[2 * k + 1] : 0.0f) : 0u;
    });
}

bool PackedMatrix::takes_tiles() const {
  return std::holds_alternative<Pairs>(panels_) && has_amx();
}

void PackedMatrix::multiply(const float* x, std::int64_t rows, std::int64_t first, Results results) const {
  if (const auto* floats = std::get_if<Floats>(&panels_)) {
    multiply_panels(tiles<float>(), floats->data() + first * in_, in_ * kPanel, x, in_, rows, in_, results);
  } else if (const auto* halves = std::get_if<Halves>(&panels_)) {
    multiply_panels(tiles<std::uint16_t>(), halves->data() + first * in_, in_ * kPanel, x, in_, rows, in_,
                    results);
  } else if (const auto* blocks = std::get_if<Int8Blocks>(&panels_)) {
    multiply_int8(blocks->data() + first / kPanel * ((in_ + kInt8Block - 1) / kInt8Block), in_, x, rows,
                  results);
  } else {
    const std::int64_t pairs = pairs_of(in_);
    const std::unique_ptr<std::uint32_t[]> rounded(new std::uint32_t[static_cast<std::size_t>(rows * pairs)]);
#pragma omp parallel for schedule(static) if (rows >= 8)
    for (std::int64_t r = 0; r < rows; ++r) {
      to_pairs(x + r * in_, in_, rounded.get() + r * pairs);
      std::fill(rounded.get() + r * pairs + (in_ + 1) / 2, rounded.get() + (r + 1) * pairs, 0u);
    }
    static const Tiles<std::uint32_t, std::uint32_t> t = tiles_pairs(std::make_integer_sequence<int, 12>());
    multiply_panels(t, std::get<Pairs>(panels_).data() + first * pairs, pairs * kPanel, rounded.get(), pairs,
                    rows, pairs, results);
  }
}

void PackedMatrix::multiply(const Inputs& x, std::int64_t rows, std::int64_t first, Results results) const {
  if (rows == 0) return;
  if (x.in_tiles() != takes_tiles() || x.in() != in_)
    throw Bug("a product's inputs are laid out for another");
  if (!x.in_tiles()) return multiply(x.floats(), rows, first, results);
  const std::int64_t pairs = pairs_of(in_);
  multiply_amx(std::get<Pairs>(panels_).data() + first * pairs, x.tiles(), pairs, rows, results);
}

void PackedMatrix::multiply(const float* x, std::int64_t rows, std::int64_t first, std::int64_t count,
                            float* y) const {
  if (rows == 0) return;
  const Results results{y, count, gated_};
  if (!takes_tiles()) return multiply(x, rows, first, results);
  Inputs inputs;
  inputs.start(rows, in_, true);
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < rows; ++r)
    inputs.put(r, x + r * in_);
  multiply(inputs, rows, first, results);
}

void PackedMatrix::multiply(const Inputs& x, std::int64_t rows, float* y, const float* bias,
                            bool adds) const {
  multiply(x, rows, 0, Results{y, out_, gated_, adds, bias});
}

void PackedMatrix::multiply(const Inputs& x, std::int64_t rows, Inputs& y) const {
  if (y.in_tiles())
    multiply(x, rows, 0, Results{.y = nullptr, .width = out_, .gated = true, .next = &y});
  else
    multiply(x, rows, 0, Results{y.floats(), out_, true});
}

}  // namespace cai
