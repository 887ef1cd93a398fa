// The engine's arithmetic in plain float32 arrays. Every row of a result is computed on its own, in one fixed order of operations,
// so it has the same bits whatever the other rows are, however many there are, and on any number of threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cai {

/// A weight matrix repacked for products with few rows: panels of `kPanel` output columns, each [in, kPanel] contiguous.
/// One accumulator a result element, summed over `in` in order, is what makes rows independent of their neighbours.
class PackedMatrix {
 public:
  static constexpr std::int64_t kPanel = 32;

  PackedMatrix() = default;

  /// `parts`: matrices [out_i, in] float32, row-major, stacked along out (e.g. q, k, v). Not kept.
  /// `bfloat16`: weights are held rounded to bfloat16, in half the memory. Where has_bfloat16_products(), rows of x are rounded too and
  /// products are taken by pairs; elsewhere products stay float32. Sums are float32 in any case.
  PackedMatrix(std::span<const float* const> parts, std::span<const std::int64_t> outs, std::int64_t in, bool bfloat16 = false);

  /// y[row, 0..out) = x[row, 0..in) * W^T for `rows` rows; x and y have row strides of `in` and `out`.
  void multiply(const float* x, std::int64_t rows, float* y) const { multiply(x, rows, 0, out_, y); }

  /// Only the result's columns [first, first + count), y having a row stride of `count`; `first` is a multiple of kPanel.
  void multiply(const float* x, std::int64_t rows, std::int64_t first, std::int64_t count, float* y) const;

  std::int64_t in() const { return in_; }
  std::int64_t out() const { return out_; }

 private:
  std::int64_t in_ = 0, out_ = 0;
  std::vector<float> panels_;                // one of the three holds the weights
  std::vector<std::uint16_t> half_panels_;
  std::vector<std::uint32_t> pair_panels_;   // two bfloat16 along `in`: [in / 2, kPanel] a panel
};

/// Whether this CPU multiplies pairs of bfloat16 (AVX512-BF16): twice the speed of float32 or more.
bool has_bfloat16_products();

/// Name of the instruction set that multiply() uses here: "avx512-bf16" (bfloat16 matrices only), "avx512", "avx2" or "plain".
const char* kernel_name(bool bfloat16);

/// y = x / rms(x) * weight, one row of `width`; the sum of squares runs in eight lanes. x and y may be the same.
void rms_norm(const float* x, const float* weight, std::int64_t width, double epsilon, float* y);

/// y[i] = silu(gate[i]) * up[i].
void silu_multiply(const float* gate, const float* up, std::int64_t n, float* y);

/// Cached keys lie in lanes of 16 positions, [positions / 16, width, 16], so that a query meets 16 keys with one product a dimension.
constexpr std::int64_t kKeyLane = 16;

/// Floats that the keys of `positions` take, the last lane filled up.
constexpr std::int64_t key_room(std::int64_t positions, std::int64_t width) { return (positions + kKeyLane - 1) / kKeyLane * kKeyLane * width; }
void put_key(const float* key, std::int64_t position, std::int64_t width, float* keys);

/// Positions [first, first + count) of a cache. keys: as put_key() lays them, all of the last lane readable; values: [positions, width].
struct AttentionBlock { const float* keys; const float* values; std::int64_t first, count; };

/// `count` query heads that share keys and values, over cached positions in up to two blocks (a shared prefix, then the sequence's own):
/// softmax(q k scale) v. queries, out: [count, width]. scores: room for three times the sum of the blocks' counts. Neither where the
/// positions are split into blocks nor which queries come together changes a bit.
void attend(const float* queries, std::int64_t count, std::span<const AttentionBlock> blocks, std::int64_t width, float scale, float* scores, float* out);

/// log(sum(exp(x))) in double over lanes of float exponentials.
double log_sum_exp(const float* x, std::int64_t n);

/// exp for all elements: y[i] = exp((x[i] - shift) * scale). Relative error below 2e-7 for results above 1e-37, else 0.
void exp_shifted(const float* x, std::int64_t n, float shift, float scale, float* y);

}  // namespace cai
