// The engine's arithmetic between two products, in plain float32 arrays, one row at a time.
#pragma once

#include <cstdint>

namespace cai {

class Inputs;

/// y = x / rms(x) * weight, one row of `width`; the sum of squares runs in eight lanes. x and y may be the
/// same.
void rms_norm(const float* x, const float* weight, std::int64_t width, double epsilon, float* y);

/// Gates that stand side by side, what they let through behind them.
constexpr std::int64_t kGated = 16;

/// y[row, i] = silu(x[row, i]) * x[row, kGated + i] for i below `columns`, at most kGated. x: [rows, 2
/// kGated]; rows of y lie `stride` apart.
void silu_multiply(const float* x, std::int64_t rows, std::int64_t columns, float* y, std::int64_t stride);

/// The same in tiles: into columns from `column` on, a multiple of kGated, of y's rows from `row` on.
/// Exponentials are right to a part in 200,000, as what is rounded to bfloat16 needs them.
void silu_multiply(const float* x, std::int64_t rows, std::int64_t columns, Inputs& y, std::int64_t row,
                   std::int64_t column);

/// y[i] = gelu(gate[i]) * up[i], by GELU's approximation with tanh (Hendrycks & Gimpel 2016).
void gelu_multiply(const float* gate, const float* up, std::int64_t n, float* y);

/// y[row, i] = x[row, i] (+ bias[i]), or (adds) += that, for i below `columns`. x: [rows, 2 kGated]; rows of
/// y lie `stride` apart. bias: nullptr for none.
void take_sums(const float* x, std::int64_t rows, std::int64_t columns, const float* bias, bool adds,
               float* y, std::int64_t stride);

/// -infinity for none.
float largest(const float* x, std::int64_t n);

/// Sums of many exponentials are those of such blocks in float32, added up in double.
constexpr std::int64_t kSumBlock = 512;

/// As exp_shifted; returns the sum of y, added up in eight lanes. For up to kSumBlock elements.
float exp_sum(const float* x, std::int64_t n, float shift, float scale, float* y);

/// log(sum(exp(x))).
double log_sum_exp(const float* x, std::int64_t n);

/// exp for all elements: y[i] = exp((x[i] - shift) * scale). Relative error below 2e-7 for results above
/// 1e-37, else 0.
void exp_shifted(const float* x, std::int64_t n, float shift, float scale, float* y);

}  // namespace cai
