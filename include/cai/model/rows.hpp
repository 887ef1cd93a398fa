// What the steps of training do to one row, on as many lanes as the CPU has. Rows do not overlap.
#pragma once

#include <cstdint>

namespace cai {

/// bfloat16, as its sixteen bits.
using Half = std::uint16_t;

void to_halves(const float* from, std::int64_t n,
               Half* to);  // to nearest, ties to even; no NaN; below 2^-126 perhaps to 0
void to_floats(const Half* from, std::int64_t n, float* to);
void add_halves(const Half* from, std::int64_t n, float* to);   // to += from
void add_floats(const float* from, std::int64_t n, float* to);  // to += from

/// y = x / rms(x) * weight (Zhang & Sennrich 2019). Returns 1 / rms(x).
float norm_row(const float* x, const float* weight, std::int64_t width, float epsilon, float* y);

/// The same y from the scale that norm_row returned.
void scale_row(const float* x, const float* weight, float scale, std::int64_t width, float* y);

/// Slopes towards x from those towards y, g.
void norm_row_backward(const float* x, const float* weight, const float* g, float scale, std::int64_t width,
                       float* d_x);

/// sum += slopes towards the weight.
void add_norm_weight_slopes(const float* x, const float* g, float scale, std::int64_t width, float* sum);

/// Rotary embedding of heads of `width`, half-split (Su et al. 2021): dimension i turns with i + half, for i
/// below `half`; those from 2 half on stay. sign 1 turns forwards, -1 back.
void rotate_row(const float* x, const float* cosines, const float* sines, std::int64_t heads,
                std::int64_t width, std::int64_t half, float sign, float* y);

/// mixed = silu(gate) * up (Shazeer 2020).
void mix_row(const Half* gate, const Half* up, std::int64_t n, Half* mixed);

/// mixed again, and the slopes towards gate and up from those towards mixed.
void unmix_row(const Half* gate, const Half* up, const Half* slopes, std::int64_t n, Half* mixed,
               Half* to_gate, Half* to_up);

}  // namespace cai
