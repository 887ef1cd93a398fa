#include "cai/model/rows.hpp"

#include <bit>
#include <cmath>
#include <cstring>

#include "cai/base/bfloat16.hpp"
#include "cai/base/lanes.hpp"

// Compiled for each width of vector registers, chosen at load time.
#define CAI_WIDE __attribute__((target_clones("avx512f", "avx2,fma", "default")))

namespace cai {
namespace {

template <class V>
struct Bits;  // halves and words of as many lanes
template <>
struct Bits<Lanes> {
  typedef std::uint16_t Halves __attribute__((vector_size(16)));
  typedef std::uint32_t Words __attribute__((vector_size(32)));
};
template <>
struct Bits<WideLanes> {
  typedef std::uint16_t Halves __attribute__((vector_size(32)));
  typedef std::uint32_t Words __attribute__((vector_size(64)));
};

template <class V>
[[gnu::always_inline]] inline V widened(const Half* p) {
  typename Bits<V>::Halves h;
  std::memcpy(&h, p, sizeof h);
  return (V)(__builtin_convertvector(h, typename Bits<V>::Words) << 16);
}

template <class V>
[[gnu::always_inline]] inline void round_to(V v, Half* p) {
  const auto bits = (typename Bits<V>::Words)v;
  const auto h =
      __builtin_convertvector((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, typename Bits<V>::Halves);
  std::memcpy(p, &h, sizeof h);
}

template <class V>
[[gnu::always_inline]] inline V sigmoid(V x) {
  return 1.0f / (1.0f + exp_lanes(-x));
}

// Calls body(i, count) for runs of `lanes` of [0, n), count below that for what is left over.
template <int lanes, class Body>
[[gnu::always_inline]] inline void by_lanes(std::int64_t n, const Body& body) {
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    body(i, lanes);
  if (i < n) body(i, n - i);
}

template <class V>
[[gnu::always_inline]] inline void mix(const Half* gate, const Half* up, std::int64_t n, Half* mixed) {
  constexpr int kLanes = sizeof(V) / sizeof(float);
  by_lanes<kLanes>(
      n, [&](std::int64_t i, std::int64_t count) __attribute__((always_inline)) {
        Half g[kLanes] = {}, u[kLanes] = {}, m[kLanes];
        const std::size_t bytes = static_cast<std::size_t>(count) * 2;
        std::memcpy(g, gate + i, bytes), std::memcpy(u, up + i, bytes);
        const V x = widened<V>(g);
        round_to(x * sigmoid(x) * widened<V>(u), m);
        std::memcpy(mixed + i, m, bytes);
      });
}

template <class V>
[[gnu::always_inline]] inline void unmix(const Half* gate, const Half* up, const Half* slopes, std::int64_t n,
                                         Half* mixed, Half* to_gate, Half* to_up) {
  constexpr int kLanes = sizeof(V) / sizeof(float);
  by_lanes<kLanes>(
      n, [&](std::int64_t i, std::int64_t count) __attribute__((always_inline)) {
        Half g[kLanes] = {}, u[kLanes] = {}, s[kLanes] = {}, m[kLanes], tg[kLanes], tu[kLanes];
        const std::size_t bytes = static_cast<std::size_t>(count) * 2;
        std::memcpy(g, gate + i, bytes), std::memcpy(u, up + i, bytes), std::memcpy(s, slopes + i, bytes);
        const V x = widened<V>(g), y = widened<V>(u), d = widened<V>(s), open = sigmoid(x), silu = x * open;
        round_to(silu * y, m);
        round_to(d * y * (open + silu * (1.0f - open)), tg);
        round_to(d * silu, tu);
        std::memcpy(mixed + i, m, bytes), std::memcpy(to_gate + i, tg, bytes),
            std::memcpy(to_up + i, tu, bytes);
      });
}

// Sixteen lanes are not one of the clones: those without AVX-512 would take them apart.
#define CAI_SIXTEEN __attribute__((target("avx512f"), noinline))
#define CAI_EIGHT __attribute__((target_clones("avx2,fma", "default")))

CAI_SIXTEEN void mix_wide(const Half* gate, const Half* up, std::int64_t n, Half* mixed) {
  mix<WideLanes>(gate, up, n, mixed);
}
CAI_EIGHT void mix_narrow(const Half* gate, const Half* up, std::int64_t n, Half* mixed) {
  mix<Lanes>(gate, up, n, mixed);
}
CAI_SIXTEEN void unmix_wide(const Half* gate, const Half* up, const Half* slopes, std::int64_t n, Half* mixed,
                            Half* to_gate, Half* to_up) {
  unmix<WideLanes>(gate, up, slopes, n, mixed, to_gate, to_up);
}
CAI_EIGHT void unmix_narrow(const Half* gate, const Half* up, const Half* slopes, std::int64_t n, Half* mixed,
                            Half* to_gate, Half* to_up) {
  unmix<Lanes>(gate, up, slopes, n, mixed, to_gate, to_up);
}

CAI_WIDE void round_narrow(const float* from, std::int64_t n, Half* to) {
  by_lanes<8>(
      n, [&](std::int64_t i, std::int64_t count) __attribute__((always_inline)) {
        Lanes x = {};
        Half h[8];
        std::memcpy(&x, from + i, static_cast<std::size_t>(count) * 4);
        round_to(x, h);
        std::memcpy(to + i, h, static_cast<std::size_t>(count) * 2);
      });
}

}  // namespace

void to_halves(const float* from, std::int64_t n, Half* to) {
  static const bool has_instruction =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16");
  const std::int64_t whole = has_instruction ? n / 32 * 32 : 0;
  if (whole > 0) to_pairs(from, whole, reinterpret_cast<Pair*>(to));
  round_narrow(from + whole, n - whole, to + whole);
}

CAI_WIDE void to_floats(const Half* from, std::int64_t n, float* to) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i)
    to[i] = std::bit_cast<float>(std::uint32_t{from[i]} << 16);
}

CAI_WIDE void add_halves(const Half* from, std::int64_t n, float* to) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i)
    to[i] += std::bit_cast<float>(std::uint32_t{from[i]} << 16);
}

CAI_WIDE void add_floats(const float* from, std::int64_t n, float* to) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i)
    to[i] += from[i];
}

CAI_WIDE float norm_row(const float* x, const float* weight, std::int64_t width, float epsilon, float* y) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (std::int64_t i = 0; i < width; ++i)
    squares += x[i] * x[i];
  const float scale = 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i)
    y[i] = weight[i] * (x[i] * scale);
  return scale;
}

CAI_WIDE void scale_row(const float* x, const float* weight, float scale, std::int64_t width, float* y) {
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i)
    y[i] = weight[i] * (x[i] * scale);
}

// d_x = scale * (g w - x scale^2 mean(g w x)).
CAI_WIDE void norm_row_backward(const float* x, const float* weight, const float* g, float scale,
                                std::int64_t width, float* d_x) {
  float along = 0;
#pragma omp simd reduction(+ : along)
  for (std::int64_t i = 0; i < width; ++i)
    along += g[i] * weight[i] * x[i];
  const float pull = along * scale * scale / static_cast<float>(width);
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i)
    d_x[i] = scale * (g[i] * weight[i] - x[i] * pull);
}

CAI_WIDE void add_norm_weight_slopes(const float* x, const float* g, float scale, std::int64_t width,
                                     float* sum) {
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i)
    sum[i] += g[i] * (x[i] * scale);
}

CAI_WIDE void rotate_row(const float* x, const float* cosines, const float* sines, std::int64_t heads,
                         std::int64_t width, std::int64_t half, float sign, float* y) {
  for (std::int64_t h = 0; h < heads; ++h) {
    const float* a = x + h * width;
    float* to = y + h * width;
#pragma omp simd
    for (std::int64_t i = 0; i < half; ++i) {
      to[i] = a[i] * cosines[i] - a[i + half] * (sign * sines[i]);
      to[i + half] = a[i + half] * cosines[i] + a[i] * (sign * sines[i]);
    }
    for (std::int64_t i = 2 * half; i < width; ++i)
      to[i] = a[i];
  }
}

void mix_row(const Half* gate, const Half* up, std::int64_t n, Half* mixed) {
  static const auto best = __builtin_cpu_supports("avx512f") ? mix_wide : mix_narrow;
  best(gate, up, n, mixed);
}

void unmix_row(const Half* gate, const Half* up, const Half* slopes, std::int64_t n, Half* mixed,
               Half* to_gate, Half* to_up) {
  static const auto best = __builtin_cpu_supports("avx512f") ? unmix_wide : unmix_narrow;
  best(gate, up, slopes, n, mixed, to_gate, to_up);
}

}  // namespace cai
