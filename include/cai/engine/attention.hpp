// Attention over cached keys and values: what the engine's sequences have read and written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace cai {

class Inputs;

/// What keys and values are kept as: bfloat16 takes half the memory and, where the CPU multiplies pairs of it
/// (it is kept nowhere else), half the time.
enum class Cached { kFloat32, kBfloat16 };

/// Cached keys lie in lanes of 16 positions, [positions / 16, width, 16], so that a query meets 16 keys with
/// one product a dimension; in bfloat16 two dimensions go together, [positions / 16, width / 2, 16, 2].
/// Values lie as [positions, width]; in bfloat16 two positions go together, [positions / 2, width, 2].
constexpr std::int64_t kKeyLane = 16;

/// Caches hold a multiple of so many positions, and only at such a one may they be split: sums of values in
/// bfloat16 go so many positions at a time.
constexpr std::int64_t kSplit = 32;

/// Bytes that keys or values of `positions` take. `width` is even.
constexpr std::int64_t cache_bytes(Cached kind, std::int64_t positions, std::int64_t width) {
  return (positions + kSplit - 1) / kSplit * kSplit * width * (kind == Cached::kFloat32 ? 4 : 2);
}
void put_key(Cached kind, const float* key, std::int64_t position, std::int64_t width, std::byte* keys);
void put_value(Cached kind, const float* value, std::int64_t position, std::int64_t width, std::byte* values);

/// Positions [first, first + count) of a cache of cache_bytes(), all of it readable; values that were not put
/// are 0 or any other finite number.
struct AttentionBlock {
  const std::byte* keys;
  const std::byte* values;
  std::int64_t first, count;
};

/// Query heads that share keys and values, of `rows` consecutive positions: [rows, heads, width] float32,
/// rows `stride` apart.
struct Queries {
  const float* first;
  std::int64_t rows, heads, stride;
};

/// What a product of a query and a key becomes before the softmax: `scale` x, and with `cap` > 0 cap
/// tanh(scale x / cap).
struct ScoreRule {
  ScoreRule(float s, float c = 0) : scale(s), cap(c) {}
  float scale, cap;
};

/// So many heads of rows are best asked at once, if they are several rows.
constexpr std::int64_t kQueries = 16;

/// The widest head that attend() takes in bfloat16.
constexpr std::int64_t kWidestPairs = 512;

/// softmax(q k) v, the products as the rule has them, over cached positions in up to two blocks (a shared
/// prefix, then the sequence's own). The last row sees all of them, the row before all but the last, and so
/// on; each sees some of the last block. out: [rows, heads, width], rows `out_stride` apart. In bfloat16
/// queries and the softmax's weights are rounded too, sums are float32. scores: room for kQueries times the
/// sum of the blocks' counts. Neither where the positions are split into blocks (at a multiple of kSplit) nor
/// which queries come together changes a bit.
void attend(Cached kind, const Queries& queries, std::span<const AttentionBlock> blocks, std::int64_t width,
            ScoreRule rule, float* scores, float* out, std::int64_t out_stride);

/// The same into columns from `column` on of rows from `row` on.
void attend(Cached kind, const Queries& queries, std::span<const AttentionBlock> blocks, std::int64_t width,
            ScoreRule rule, float* scores, Inputs& out, std::int64_t row, std::int64_t column);

}  // namespace cai
