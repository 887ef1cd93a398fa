#include "cai/model/dequantise.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "cai/base/error.hpp"

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

// The fifth bit of 32 values is one bit each in four bytes.
int fifth_bit(const std::uint8_t* high, int i) {
  return (high[i / 8] >> (i % 8) & 1) << 4;
}

void q5_0(const std::uint8_t* b, float* y) {
  const float d = half_at(b);
  const std::uint8_t *high = b + 2, *q = b + 6;
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>(((q[i] & 15) | fifth_bit(high, i)) - 16);
    y[i + 16] = d * static_cast<float>(((q[i] >> 4) | fifth_bit(high, i + 16)) - 16);
  }
}

void q5_1(const std::uint8_t* b, float* y) {
  const float d = half_at(b), m = half_at(b + 2);
  const std::uint8_t *high = b + 4, *q = b + 8;
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>((q[i] & 15) | fifth_bit(high, i)) + m;
    y[i + 16] = d * static_cast<float>((q[i] >> 4) | fifth_bit(high, i + 16)) + m;
  }
}

void q8_0(const std::uint8_t* b, float* y) {
  const float d = half_at(b);
  for (int i = 0; i < 32; ++i)
    y[i] = d * static_cast<float>(static_cast<std::int8_t>(b[2 + i]));
}

// Six-bit scale and minimum of sub-block j (0..7), packed in 12 bytes.
void scale_and_minimum(int j, const std::uint8_t* s, int& scale, int& minimum) {
  if (j < 4) {
    scale = s[j] & 63, minimum = s[j + 4] & 63;
  } else {
    scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4, minimum = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
  }
}

// Two bits each: a byte holds value i of four rows of 32; a half of a row, 16 values, has a scale and a
// minimum of four bits.
void q2_k(const std::uint8_t* b, float* y) {
  const std::uint8_t *scales = b, *q = b + 16;
  const float d = half_at(b + 80), least = half_at(b + 82);
  for (int row = 0; row < 8; ++row)
    for (int i = 0; i < 32; ++i) {
      const std::uint8_t s = scales[2 * row + i / 16];
      const float step = d * static_cast<float>(s & 15), base = least * static_cast<float>(s >> 4);
      y[32 * row + i] = step * static_cast<float>(q[32 * (row / 4) + i] >> (2 * (row % 4)) & 3) - base;
    }
}

// As q2_k, with a third bit in bytes of their own (0 there means 4 less) and six-bit scales: four bits of
// all, then two of all.
void q3_k(const std::uint8_t* b, float* y) {
  const std::uint8_t *high = b, *q = b + 32, *scales = b + 96;
  const float d = half_at(b + 108);
  for (int row = 0; row < 8; ++row)
    for (int i = 0; i < 32; ++i) {
      const int j = 2 * row + i / 16, low_bits = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
      const int scale = (low_bits | (scales[8 + j % 4] >> (2 * (j / 4)) & 3) << 4) - 32;
      const int value = (q[32 * (row / 4) + i] >> (2 * (row % 4)) & 3) - (high[i] >> row & 1 ? 0 : 4);
      y[32 * row + i] = d * static_cast<float>(scale) * static_cast<float>(value);
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
    for (int i = 0; i < 32; ++i)
      y[32 * j + i] = step * static_cast<float>(j % 2 ? nibbles[i] >> 4 : nibbles[i] & 15) - base;
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
      const int q[4] = {(l[i] & 15) | (h & 3) << 4, (l[i + 32] & 15) | (h >> 2 & 3) << 4,
                        (l[i] >> 4) | (h >> 4 & 3) << 4, (l[i + 32] >> 4) | (h >> 6) << 4};
      for (int k = 0; k < 4; ++k)
        y[128 * half + 32 * k + i] =
            d * static_cast<float>(scales[8 * half + 2 * k + i / 16]) * static_cast<float>(q[k] - 32);
    }
  }
}

// What the sixteen codes of the IQ4 types stand for.
constexpr float kCodes[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

void iq4_row(float d, const std::uint8_t* q, float* y) {
  for (int i = 0; i < 16; ++i) {
    y[i] = d * kCodes[q[i] & 15];
    y[i + 16] = d * kCodes[q[i] >> 4];
  }
}

void iq4_nl(const std::uint8_t* b, float* y) {
  iq4_row(half_at(b), b + 2, y);
}

// Eight rows of 32 with six-bit scales: two bits of all, then four bits of all.
void iq4_xs(const std::uint8_t* b, float* y) {
  const float d = half_at(b);
  const int high = b[2] | b[3] << 8;
  for (int row = 0; row < 8; ++row) {
    const int scale = (b[4 + row / 2] >> (4 * (row % 2)) & 15) | (high >> (2 * row) & 3) << 4;
    iq4_row(d * static_cast<float>(scale - 32), b + 8 + 16 * row, y + 32 * row);
  }
}

void f16(const std::uint8_t* b, float* y) {
  *y = half_at(b);
}

void bf16(const std::uint8_t* b, float* y) {
  *y = std::bit_cast<float>(static_cast<std::uint32_t>(b[0] | b[1] << 8) << 16);
}

using Values = void (*)(const std::uint8_t* block, float* out);

Values values_of(GgufType type) {
  switch (type) {
    case GgufType::kQ4_0: return q4_0;
    case GgufType::kQ4_1: return q4_1;
    case GgufType::kQ5_0: return q5_0;
    case GgufType::kQ5_1: return q5_1;
    case GgufType::kQ8_0: return q8_0;
    case GgufType::kQ2_K: return q2_k;
    case GgufType::kQ3_K: return q3_k;
    case GgufType::kQ4_K: return q4_k;
    case GgufType::kQ5_K: return q5_k;
    case GgufType::kQ6_K: return q6_k;
    case GgufType::kIQ4_NL: return iq4_nl;
    case GgufType::kIQ4_XS: return iq4_xs;
    default: throw Bug("a type without blocks");
  }
}

}  // namespace

float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16, exponent = bits >> 10 & 31u,
                      mantissa = bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -value : value;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

void dequantise(GgufType type, std::span<const std::byte> bytes, std::int64_t count, float* out) {
  if (type == GgufType::kF32) {
    std::memcpy(out, bytes.data(), static_cast<std::size_t>(count) * sizeof *out);
    return;
  }
  const auto all = gguf_blocks();
  const GgufBlock& block =
      *std::find_if(all.begin(), all.end(), [&](const GgufBlock& b) { return b.type == type; });
  const auto values = static_cast<std::int64_t>(block.values), size = static_cast<std::int64_t>(block.bytes);
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  const auto work = [&](auto one) {
    at::parallel_for(0, count / values, 4096, [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t i = from; i < to; ++i)
        one(data + i * size, out + i * values);
    });
  };
  if (type == GgufType::kF16)
    work([](const std::uint8_t* b, float* y) { f16(b, y); });  // a call for each value would be slow
  else if (type == GgufType::kBF16)
    work([](const std::uint8_t* b, float* y) { bf16(b, y); });
  else
    work(values_of(type));
}

}  // namespace cai
