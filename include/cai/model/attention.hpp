// Causal attention over packed sequences, with its gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace cai {

/// Which rows of a pack see which: each segment's rows see the rows of its pieces up to themselves. The pieces are the segments before it in its
/// sequences and itself, in the order of positions.
struct AttentionLayout {
  struct Piece { std::int64_t begin, length; };                             // rows
  struct Segment { std::int64_t start; std::vector<Piece> pieces; };        // start: position of its first row; its own rows are the last piece
  std::vector<Segment> segments;
};

/// softmax(q k^T / sqrt(head_width)) v, each row seeing itself and what lies before it, with `window` > 0 that many rows in all. q: [rows, heads,
/// head_width], k, v: [rows, kv_heads, head_width], float32 -> [rows, heads * head_width]. Differentiable in q, k and v; nothing of the size of the
/// weights is kept for that (Dao et al. 2022). The same bits on any number of threads.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::shared_ptr<const AttentionLayout> layout, std::int64_t window);

}  // namespace cai
