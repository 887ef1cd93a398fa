#include "cai/model/dequantise.hpp"

#include <ATen/Parallel.h>

#include <bit>
#include <cstring>

namespace cai {
namespace {

float half_at(const std::uint8_t* p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, 2);
  return half_to_float(bits);
}

void q4_0(const std::uint8_t* b, float* y) {
  const float d = half_at(b);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>((b[2 + i] & 15) - 8);
    y[i + 16] = d * static_cast<float>((b[2 + i] >> 4) - 8);
  }
}

void q4_1(const std::uint8_t* b, float* y) {
  const float d = half_at(b), m = half_at(b + 2);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>(b[4 + i] & 15) + m;
    y[i + 16] = d * static_cast<float>(b[4 + i] >> 4) + m;
  }
}

void q8_0(const std::uint8_t* b, float* y) {
  const float d = half_at(b);
  for (int i = 0; i < 32; ++i) y[i] = d * static_cast<float>(static_cast<std::int8_t>(b[2 + i]));
}

// Six-bit scale and minimum of sub-block j (0..7), packed in 12 bytes.
void scale_and_minimum(int j, const std::uint8_t* s, int& scale, int& minimum) {
  if (j < 4) {
    scale = s[j] & 63, minimum = s[j + 4] & 63;
  } else {
    scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4, minimum = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
  }
}

void q4_k(const std::uint8_t* b, float* y) {
  const float d = half_at(b), least = half_at(b + 2);
  const std::uint8_t *scales = b + 4, *q = b + 16;
  for (int j = 0; j < 8; ++j) {
    int scale, minimum;
    scale_and_minimum(j, scales, scale, minimum);
    const float step = d * static_cast<float>(scale), base = least * static_cast<float>(minimum);
    const std::uint8_t* nibbles = q + 32 * (j / 2);
    for (int i = 0; i < 32; ++i) y[32 * j + i] = step * static_cast<float>(j % 2 ? nibbles[i] >> 4 : nibbles[i] & 15) - base;
  }
}

void q5_k(const std::uint8_t* b, float* y) {
  const float d = half_at(b), least = half_at(b + 2);
  const std::uint8_t *scales = b + 4, *high = b + 16, *q = b + 48;
  for (int j = 0; j < 8; ++j) {
    int scale, minimum;
    scale_and_minimum(j, scales, scale, minimum);
    const float step = d * static_cast<float>(scale), base = least * static_cast<float>(minimum);
    const std::uint8_t* nibbles = q + 32 * (j / 2);
    for (int i = 0; i < 32; ++i) {
      const int low = j % 2 ? nibbles[i] >> 4 : nibbles[i] & 15;
      y[32 * j + i] = step * static_cast<float>(low | ((high[i] >> j) & 1) << 4) - base;
    }
  }
}

void q6_k(const std::uint8_t* b, float* y) {
  const std::uint8_t *low = b, *high = b + 128;
  const auto* scales = reinterpret_cast<const std::int8_t*>(b + 192);
  const float d = half_at(b + 208);
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < 32; ++i) {
      const std::uint8_t *l = low + 64 * half, h = high[32 * half + i];
      const int q[4] = {(l[i] & 15) | (h & 3) << 4, (l[i + 32] & 15) | (h >> 2 & 3) << 4, (l[i] >> 4) | (h >> 4 & 3) << 4, (l[i + 32] >> 4) | (h >> 6) << 4};
      for (int k = 0; k < 4; ++k)
        y[128 * half + 32 * k + i] = d * static_cast<float>(scales[8 * half + 2 * k + i / 16]) * static_cast<float>(q[k] - 32);
    }
  }
}

template <class Function>
void blocks(std::span<const std::byte> bytes, std::int64_t count, std::int64_t values, std::int64_t size, float* out, Function one) {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  at::parallel_for(0, count / values, 4096, [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t i = from; i < to; ++i) one(data + i * size, out + i * values);
  });
}

}  // namespace

float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, mantissa = bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -value : value;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

void dequantise(GgufType type, std::span<const std::byte> bytes, std::int64_t count, float* out) {
  switch (type) {
    case GgufType::kF32: std::memcpy(out, bytes.data(), static_cast<std::size_t>(count) * 4); return;
    case GgufType::kF16: return blocks(bytes, count, 1, 2, out, [](const std::uint8_t* b, float* y) { *y = half_at(b); });
    case GgufType::kBF16:
      return blocks(bytes, count, 1, 2, out, [](const std::uint8_t* b, float* y) { *y = std::bit_cast<float>(static_cast<std::uint32_t>(b[0] | b[1] << 8) << 16); });
    case GgufType::kQ4_0: return blocks(bytes, count, 32, 18, out, q4_0);
    case GgufType::kQ4_1: return blocks(bytes, count, 32, 20, out, q4_1);
    case GgufType::kQ8_0: return blocks(bytes, count, 32, 34, out, q8_0);
    case GgufType::kQ4_K: return blocks(bytes, count, 256, 144, out, q4_k);
    case GgufType::kQ5_K: return blocks(bytes, count, 256, 176, out, q5_k);
    case GgufType::kQ6_K: return blocks(bytes, count, 256, 210, out, q6_k);
  }
}

}  // namespace cai
