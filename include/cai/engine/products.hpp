// The engine's matrix products. Every row of a result is computed on its own, in one fixed order of
// operations, so it has the same bits whatever the other rows are, however many there are, and on any number
// of threads.
#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "cai/engine/int8.hpp"

namespace cai {

/// What a product's two sides are rounded to; results and inputs are float32 arrays in any case.
///   kBfloat16: both sides to bfloat16, summed in float32. Without AVX512-BF16 the weights alone, products
///   stay float32. kInt8: both sides to eight bits in blocks of 32 along `in`, weights on up to 256 even
///   steps from a block's lowest to its highest (those
///     of GGUF's Q4_0, Q4_1 and Q8_0 are kept exactly so), inputs in steps of a block's magnitude. Blocks are
///     summed exactly in int32, then in float32. Weights take 1.25 bytes. Only where has_int8_products().
///   kAuto: kInt8 for a matrix whose weights it keeps exactly, if prefers_int8(); else kBfloat16 if the CPU
///   has instructions for it; else kFloat32.
enum class Precision { kFloat32, kBfloat16, kInt8, kAuto };

/// Whether this CPU multiplies pairs of bfloat16 (AVX512-BF16): twice the speed of float32 or more. In tiles
/// (has_amx()) it is several times that.
bool has_bfloat16_products();

/// Whether it multiplies fours of eight bits (AVX512-VNNI): faster than pairs by a third, and little more
/// than half the memory to read.
bool has_int8_products();

/// Whether eight bits are its fastest way: they are slower than tiles of bfloat16.
bool prefers_int8();

/// Name of the instruction set that products of this precision (not kAuto) use here: "avx512-vnni",
/// "amx-bf16", "avx512-bf16", "avx512", "avx2" or "plain".
const char* kernel_name(Precision precision);

/// A weight matrix repacked for products with few rows: panels of `kPanel` output columns, each contiguous
/// along `in`.
class PackedMatrix {
 public:
  PackedMatrix() = default;

  /// `parts`: matrices [out_i, in] float32, row-major, stacked along out (e.g. q, k, v). Not kept.
  PackedMatrix(std::span<const float* const> parts, std::span<const std::int64_t> outs, std::int64_t in,
               Precision precision = Precision::kFloat32);

  /// gate and up [width, in]: what is multiplied with them is silu(gate x) * (up x), `width` columns (SwiGLU,
  /// Shazeer 2020).
  static PackedMatrix gated(const float* gate, const float* up, std::int64_t width, std::int64_t in,
                            Precision precision);

  /// y[row, 0..out) = x[row, 0..in) * W^T for `rows` rows; x and y have row strides of `in` and `out`.
  void multiply(const float* x, std::int64_t rows, float* y) const { multiply(x, rows, 0, out_, y); }

  /// Only the result's columns [first, first + count), y having a row stride of `count`; `first` is a
  /// multiple of kPanel. Of a gated one only all of them.
  void multiply(const float* x, std::int64_t rows, std::int64_t first, std::int64_t count, float* y) const;

  /// Whether it multiplies in tiles, and so takes its Inputs.
  bool takes_tiles() const;

  /// y = x W^T + bias, or (adds) y += that; x has `rows` rows. bias: [out], nullptr for none.
  void multiply(const Inputs& x, std::int64_t rows, float* y, const float* bias = nullptr,
                bool adds = false) const;

  /// A gated one's results as the next product's inputs, for which room is made before.
  void multiply(const Inputs& x, std::int64_t rows, Inputs& y) const;

  std::int64_t in() const { return in_; }
  std::int64_t out() const { return out_; }
  bool is_int8() const { return std::holds_alternative<Int8Blocks>(panels_); }

 private:
  PackedMatrix(const std::vector<const float*>& rows, std::int64_t in,
               Precision precision);  // [in] each, nullptr for none

  using Floats = std::vector<float>;          // [in, kPanel] a panel
  using Halves = std::vector<std::uint16_t>;  // the same in bfloat16
  using Pairs = std::vector<std::uint32_t>;   // two bfloat16 along `in`: [in / 2, kPanel] a panel

  using Int8Blocks = std::vector<Int8Block>;  // [in / kInt8Block] a panel

  void multiply(const Inputs& x, std::int64_t rows, std::int64_t first, Results results) const;
  void multiply(const float* x, std::int64_t rows, std::int64_t first,
                Results results) const;  // not in tiles

  std::int64_t in_ = 0, out_ = 0;
  bool gated_ = false;  // panels are kGated rows of gate, then the same ones of up
  std::variant<Floats, Halves, Pairs, Int8Blocks> panels_;
};

}  // namespace cai
