// Products of eight bits: weights and inputs of PackedMatrix where its precision is kInt8 (products.hpp says
// what that means).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "cai/engine/panels.hpp"

namespace cai {

constexpr std::int64_t kInt8Block = 32;  // values along `in`

/// kInt8Block weights of each column of a panel: base + step * value.
struct alignas(64) Int8Block {
  std::uint8_t values[kInt8Block / 4][kPanel][4];
  float steps[kPanel], bases[kPanel];
};

/// Panels of [in / kInt8Block, rounded up] blocks from `rows`, the weights of each column, [in] float32, or
/// nullptr for none. true: they hold the weights as they are, to a part in 4,096 of each block's range. Where
/// they do not and `only_exact`, they are of no use.
std::pair<std::vector<Int8Block>, bool> pack_int8(const std::vector<const float*>& rows, std::int64_t in,
                                                  bool only_exact);

/// results = x [rows, in] times the panels from the first one on. Needs AVX512-VNNI.
void multiply_int8(const Int8Block* panels, std::int64_t in, const float* x, std::int64_t rows,
                   Results results);

}  // namespace cai
