#include "cai/engine/kernels.hpp"

// GCC 12 warns about its own undefined-value intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cai/base/bfloat16.hpp"
#include "cai/base/lanes.hpp"
#include "cai/engine/inputs.hpp"

#define CAI_PAIRS __attribute__((target("avx512f,avx512bf16")))

// Functions on eight lanes, compiled for AVX2 and for any x86-64, chosen at load time. No fused multiply-add
// here (the build forbids contraction), so both give the same bits.
#define CAI_LANES __attribute__((target_clones("avx2", "default")))

namespace cai {
namespace {

[[gnu::always_inline]] inline float sum_lanes(Lanes v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

}  // namespace

CAI_LANES void rms_norm(const float* x, const float* weight, std::int64_t width, double epsilon, float* y) {
  Lanes squares = {};
  std::int64_t i = 0;
  for (; i + 8 <= width; i += 8) {
    const Lanes v = load_lanes<Lanes>(x + i);
    squares += v * v;
  }
  float sum = sum_lanes(squares);
  for (; i < width; ++i)
    sum += x[i] * x[i];
  const float scale = 1.0f / std::sqrt(sum / static_cast<float>(width) + static_cast<float>(epsilon));
  for (i = 0; i < width; ++i)
    y[i] = x[i] * scale * weight[i];
}

namespace {

// What is left at the end is filled up, so each element meets the same operations wherever it stands.
template <class V>
[[gnu::always_inline]] inline void exp_all(const float* x, std::int64_t n, float shift, float scale,
                                           float* y) {
  constexpr std::int64_t kLanes = sizeof(V) / sizeof(float);
  V v;
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    std::memcpy(&v, x + i, sizeof v);
    v = exp_lanes((v - shift) * scale);
    std::memcpy(y + i, &v, sizeof v);
  }
  if (i < n) {
    v = V{};
    std::memcpy(&v, x + i, static_cast<std::size_t>(n - i) * sizeof(float));
    v = exp_lanes((v - shift) * scale);
    std::memcpy(y + i, &v, static_cast<std::size_t>(n - i) * sizeof(float));
  }
}

// Not one of the clones: sixteen lanes would be taken apart by those without AVX-512.
__attribute__((target("avx512f"), noinline)) void exp_wide(const float* x, std::int64_t n, float shift,
                                                           float scale, float* y) {
  exp_all<WideLanes>(x, n, shift, scale, y);
}

CAI_LANES void exp_narrow(const float* x, std::int64_t n, float shift, float scale, float* y) {
  exp_all<Lanes>(x, n, shift, scale, y);
}

}  // namespace

void exp_shifted(const float* x, std::int64_t n, float shift, float scale, float* y) {
  static const bool is_wide = __builtin_cpu_supports("avx512f");
  if (is_wide)
    exp_wide(x, n, shift, scale, y);
  else
    exp_narrow(x, n, shift, scale, y);
}

namespace {

template <class V>
[[gnu::always_inline]] inline void silu_all(const float* x, std::int64_t rows, std::int64_t columns, float* y,
                                            std::int64_t stride) {
  constexpr std::int64_t kLanes = sizeof(V) / sizeof(float);
  for (std::int64_t r = 0; r < rows; ++r, x += 2 * kGated, y += stride)
    for (std::int64_t i = 0; i < columns; i += kLanes) {
      V gate, up;
      std::memcpy(&gate, x + i, sizeof gate);
      std::memcpy(&up, x + kGated + i, sizeof up);
      const V product = gate / (1.0f + exp_lanes(-gate)) * up;
      std::memcpy(y + i, &product, static_cast<std::size_t>(std::min(kLanes, columns - i)) * sizeof(float));
    }
}

__attribute__((target("avx512f"), noinline)) void silu_wide(const float* x, std::int64_t rows,
                                                            std::int64_t columns, float* y,
                                                            std::int64_t stride) {
  silu_all<WideLanes>(x, rows, columns, y, stride);
}

CAI_LANES void silu_narrow(const float* x, std::int64_t rows, std::int64_t columns, float* y,
                           std::int64_t stride) {
  silu_all<Lanes>(x, rows, columns, y, stride);
}

}  // namespace

void silu_multiply(const float* x, std::int64_t rows, std::int64_t columns, float* y, std::int64_t stride) {
  static const auto best = __builtin_cpu_supports("avx512f") ? silu_wide : silu_narrow;
  best(x, rows, columns, y, stride);
}

CAI_PAIRS void silu_multiply(const float* x, std::int64_t rows, std::int64_t columns, Inputs& y,
                             std::int64_t row, std::int64_t column) {
  const __mmask16 kept = static_cast<__mmask16>((1u << columns) - 1);
  for (std::int64_t r = 0; r < rows; ++r, x += 2 * kGated) {
    const __m512 gate = _mm512_loadu_ps(x), e = exp_of_power(_mm512_mul_ps(gate, _mm512_set1_ps(-kPowers)));
    const __m512 product =
        _mm512_mul_ps(_mm512_div_ps(gate, _mm512_add_ps(_mm512_set1_ps(1), e)), _mm512_loadu_ps(x + kGated));
    _mm256_store_si256(reinterpret_cast<__m256i*>(y.words(row + r, column)),
                       (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_mov_ps(kept, product)));
  }
}

void gelu_multiply(const float* gate, const float* up, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float x = gate[i], inner = 0.7978845608f * (x + 0.044715f * x * x * x);
    y[i] = 0.5f * x * (1.0f + std::tanh(inner)) * up[i];
  }
}

CAI_LANES void take_sums(const float* x, std::int64_t rows, std::int64_t columns, const float* bias,
                         bool adds, float* y, std::int64_t stride) {
  for (std::int64_t r = 0; r < rows; ++r, x += 2 * kGated, y += stride) {
    std::int64_t i = 0;
    for (; i + 8 <= columns; i += 8) {
      Lanes v = load_lanes<Lanes>(x + i);
      if (bias) v += load_lanes<Lanes>(bias + i);
      store_lanes(y + i, adds ? load_lanes<Lanes>(y + i) + v : v);
    }
    for (; i < columns; ++i) {
      const float v = bias ? x[i] + bias[i] : x[i];
      y[i] = adds ? y[i] + v : v;
    }
  }
}

CAI_LANES float largest(const float* x, std::int64_t n) {
  Lanes most = Lanes{} - INFINITY;
  std::int64_t k = 0;
  for (; k + 8 <= n; k += 8) {
    const Lanes v = load_lanes<Lanes>(x + k);
    most = v > most ? v : most;
  }
  float highest = -INFINITY;
  for (int lane = 0; lane < 8; ++lane)
    highest = std::max(highest, most[lane]);
  for (; k < n; ++k)
    highest = std::max(highest, x[k]);
  return highest;
}

CAI_LANES float exp_sum(const float* x, std::int64_t n, float shift, float scale, float* y) {
  exp_shifted(x, n, shift, scale, y);
  Lanes lanes = {};
  std::int64_t k = 0;
  for (; k + 8 <= n; k += 8)
    lanes += load_lanes<Lanes>(y + k);
  float sum = sum_lanes(lanes);
  for (; k < n; ++k)
    sum += y[k];
  return sum;
}

double log_sum_exp(const float* x, std::int64_t n) {
  const float highest = largest(x, n);
  double sum = 0;
  float part[kSumBlock];
  for (std::int64_t i = 0; i < n; i += kSumBlock)
    sum += exp_sum(x + i, std::min(kSumBlock, n - i), highest, 1.0f, part);
  return static_cast<double>(highest) + std::log(sum);
}

}  // namespace cai
