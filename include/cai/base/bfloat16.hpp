// Rounding to bfloat16, pairs of it (what AVX512-BF16 multiplies), and exponentials no better than that
// needs.
#pragma once

#include <immintrin.h>

#include <bit>
#include <cstdint>

namespace cai {

/// Round to nearest, ties to even; NaN stays NaN.
inline std::uint16_t to_bfloat16(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/// Two values as one word, the first in the low half. It may lie where floats were.
typedef std::uint32_t Pair __attribute__((may_alias));

inline Pair pair_of(float first, float second) {
  return to_bfloat16(first) | static_cast<std::uint32_t>(to_bfloat16(second)) << 16;
}

/// A row of `width` floats as pairs; an odd last value is paired with 0. Lanes round as to_bfloat16 does, but
/// numbers below 2^-126 to 0. The pairs may take the place of the floats.
__attribute__((target("avx512f,avx512bf16"))) inline void to_pairs(const float* x, std::int64_t width,
                                                                   Pair* pairs) {
  std::int64_t i = 0;
  for (; i + 32 <= width; i += 32)
    _mm512_storeu_si512(pairs + i / 2,
                        (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i)));
  for (; i < width; i += 2)
    pairs[i / 2] = pair_of(x[i], i + 1 < width ? x[i + 1] : 0.0f);
}

constexpr float kPowers = 1.44269504f;  // of 2 in one of e

/// 2^power for what is rounded to bfloat16 next: a relative error below 4e-6, results below 2^-126 are not
/// exact. Where tiles multiply, longer ones would take a tenth of the time. (Taylor of 2^f, f in [-0.5,
/// 0.5].)
__attribute__((target("avx512f"))) inline __m512 exp_of_power(__m512 power) {
  power = _mm512_max_ps(_mm512_set1_ps(-160), power);  // NaN stays
  const __m512 n = _mm512_roundscale_ps(power, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
               f = _mm512_sub_ps(power, n);
  __m512 p = _mm512_set1_ps(1.3333558e-3f);
  for (const float c : {9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.0f})
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, n);
}

}  // namespace cai
