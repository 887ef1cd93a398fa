// Eight or sixteen floats at a time, in the compiler's own vectors: what the engine's kernels and the fused
// training steps share.
#pragma once

#include <cstdint>
#include <cstring>

namespace cai {

typedef float Lanes __attribute__((vector_size(32)));
typedef float WideLanes __attribute__((vector_size(64)));

template <class V>
[[gnu::always_inline]] inline V load_lanes(const float* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class V>
[[gnu::always_inline]] inline void store_lanes(float* p, V v) {
  std::memcpy(p, &v, sizeof v);
}

// exp on each lane: 2^n * 2^f, f in [-0.5, 0.5], polynomial of degree 6 (Taylor of exp on |f ln 2| <= 0.35).
template <class Lanes>
[[gnu::always_inline]] inline Lanes exp_lanes(Lanes x) {
  using IntLanes = decltype(x < x);
  const Lanes lowest = Lanes{} - 87.0f;
  const IntLanes underflow = x < lowest;
  x = underflow ? lowest : x;
  const Lanes highest = Lanes{} + 88.0f;
  x = x > highest ? highest : x;
  const Lanes t = x * 1.44269504088896341f;
  const Lanes magic = Lanes{} + 12582912.0f;  // 1.5 * 2^23: adding rounds to the nearest integer
  const Lanes n = (t + magic) - magic;
  Lanes f = x - n * 0.693359375f;  // ln 2 in two parts, the first exact
  f = f - n * -2.12194440e-4f;
  Lanes p = Lanes{} + 1.9875691500e-4f;
  p = p * f + 1.3981999507e-3f;
  p = p * f + 8.3334519073e-3f;
  p = p * f + 4.1665795894e-2f;
  p = p * f + 1.6666665459e-1f;
  p = p * f + 5.0000001201e-1f;
  p = p * f * f + f + 1.0f;
  const IntLanes exponent = (__builtin_convertvector(n, IntLanes) + 127) << 23;
  const Lanes scale = (Lanes)exponent;
  const Lanes result = p * scale;
  return underflow ? Lanes{} : result;
}

}  // namespace cai
