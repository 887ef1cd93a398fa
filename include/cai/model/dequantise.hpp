// GGUF's quantised blocks to float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cai/io/gguf.hpp"

namespace cai {

/// `count` values (whole blocks of the type) from `bytes` into `out`. The layouts are those of ggml's
/// quantisation types; results are bit-equal to the `gguf` Python package's dequantize().
void dequantise(GgufType type, std::span<const std::byte> bytes, std::int64_t count, float* out);

float half_to_float(std::uint16_t bits);

}  // namespace cai
