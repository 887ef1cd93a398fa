// attend() in tiles (AMX).
#pragma once

#include <cstdint>
#include <span>

#include "cai/engine/attention.hpp"

namespace cai {

/// Whether attend() takes this way: keys and values in bfloat16, heads of a multiple of 64 dimensions, a CPU
/// that has tiles.
bool attends_in_tiles(Cached kind, std::int64_t width);

/// Arguments are those of attend().
void attend_in_tiles(const Queries& queries, std::span<const AttentionBlock> blocks, std::int64_t width,
                     float scale, float* scores, float* out, std::int64_t out_stride);
void attend_in_tiles(const Queries& queries, std::span<const AttentionBlock> blocks, std::int64_t width,
                     float scale, float* scores, Inputs& out, std::int64_t row, std::int64_t column);

}  // namespace cai
