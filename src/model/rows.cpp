#include "cai/model/rows.hpp"

#include <bit>
#include <cmath>
#include <cstring>

#include "cai/base/lanes.hpp"

// Compiled for each width of vector registers, chosen at load time.
#define CAI_WIDE __attribute__((target_clones("avx512f", "avx2,fma", "default")))

namespace cai {
namespace {

typedef std::uint16_t Halves __attribute__((vector_size(16)));
typedef std::uint32_t Words __attribute__((vector_size(32)));

[[gnu::always_inline]] inline Lanes widened(const Half* p) {
  Halves h;
  std::memcpy(&h, p, sizeof h);
  return (Lanes)(__builtin_convertvector(h, Words) << 16);
}

[[gnu::always_inline]] inline void round_to(Lanes v, Half* p) {
  const Words bits = (Words)v;
  const Halves h = __builtin_convertvector((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, Halves);
  std::memcpy(p, &h, sizeof h);
}

[[gnu::always_inline]] inline Lanes sigmoid(Lanes x) { return 1.0f / (1.0f + exp_lanes(-x)); }

// Calls body(i, count) for eights of [0, n), count below 8 for what is left over.
template <class Body>
[[gnu::always_inline]] inline void by_eights(std::int64_t n, const Body& body) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) body(i, 8);
  if (i < n) body(i, n - i);
}

}  // namespace

CAI_WIDE void to_halves(const float* from, std::int64_t n, Half* to) {
  by_eights(n, [&](std::int64_t i, std::int64_t count) __attribute__((always_inline)) {
    Lanes x = {};
    Half h[8];
    std::memcpy(&x, from + i, static_cast<std::size_t>(count) * 4);
    round_to(x, h);
    std::memcpy(to + i, h, static_cast<std::size_t>(count) * 2);
  });
}

CAI_WIDE void to_floats(const Half* from, std::int64_t n, float* to) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) to[i] = std::bit_cast<float>(std::uint32_t{from[i]} << 16);
}

CAI_WIDE void add_halves(const Half* from, std::int64_t n, float* to) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) to[i] += std::bit_cast<float>(std::uint32_t{from[i]} << 16);
}

CAI_WIDE void add_floats(const float* from, std::int64_t n, float* to) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) to[i] += from[i];
}

CAI_WIDE float norm_row(const float* x, const float* weight, std::int64_t width, float epsilon, float* y) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (std::int64_t i = 0; i < width; ++i) squares += x[i] * x[i];
  const float scale = 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) y[i] = weight[i] * (x[i] * scale);
  return scale;
}

CAI_WIDE void scale_row(const float* x, const float* weight, float scale, std::int64_t width, float* y) {
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) y[i] = weight[i] * (x[i] * scale);
}

// d_x = scale * (g w - x scale^2 mean(g w x)).
CAI_WIDE void norm_row_backward(const float* x, const float* weight, const float* g, float scale, std::int64_t width, float* d_x) {
  float along = 0;
#pragma omp simd reduction(+ : along)
  for (std::int64_t i = 0; i < width; ++i) along += g[i] * weight[i] * x[i];
  const float pull = along * scale * scale / static_cast<float>(width);
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) d_x[i] = scale * (g[i] * weight[i] - x[i] * pull);
}

CAI_WIDE void add_norm_weight_slopes(const float* x, const float* g, float scale, std::int64_t width, float* sum) {
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) sum[i] += g[i] * (x[i] * scale);
}

CAI_WIDE void rotate_row(const float* x, const float* cosines, const float* sines, std::int64_t heads, std::int64_t half, float sign, float* y) {
  for (std::int64_t h = 0; h < heads; ++h) {
    const float* a = x + h * 2 * half;
    float* to = y + h * 2 * half;
#pragma omp simd
    for (std::int64_t i = 0; i < half; ++i) {
      to[i] = a[i] * cosines[i] - a[i + half] * (sign * sines[i]);
      to[i + half] = a[i + half] * cosines[i] + a[i] * (sign * sines[i]);
    }
  }
}

CAI_WIDE void mix_row(const Half* gate, const Half* up, std::int64_t n, Half* mixed) {
  by_eights(n, [&](std::int64_t i, std::int64_t count) __attribute__((always_inline)) {
    Half g[8] = {}, u[8] = {}, m[8];
    std::memcpy(g, gate + i, static_cast<std::size_t>(count) * 2), std::memcpy(u, up + i, static_cast<std::size_t>(count) * 2);
    const Lanes x = widened(g);
    round_to(x * sigmoid(x) * widened(u), m);
    std::memcpy(mixed + i, m, static_cast<std::size_t>(count) * 2);
  });
}

CAI_WIDE void unmix_row(const Half* gate, const Half* up, const Half* slopes, std::int64_t n, Half* mixed, Half* to_gate, Half* to_up) {
  by_eights(n, [&](std::int64_t i, std::int64_t count) __attribute__((always_inline)) {
    Half g[8] = {}, u[8] = {}, s[8] = {}, m[8], tg[8], tu[8];
    const std::size_t bytes = static_cast<std::size_t>(count) * 2;
    std::memcpy(g, gate + i, bytes), std::memcpy(u, up + i, bytes), std::memcpy(s, slopes + i, bytes);
    const Lanes x = widened(g), y = widened(u), d = widened(s), open = sigmoid(x), silu = x * open;
    round_to(silu * y, m);
    round_to(d * y * (open + silu * (1.0f - open)), tg);
    round_to(d * silu, tu);
    std::memcpy(mixed + i, m, bytes), std::memcpy(to_gate + i, tg, bytes), std::memcpy(to_up + i, tu, bytes);
  });
}

}  // namespace cai
