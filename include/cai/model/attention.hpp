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

struct Attended {
  at::Tensor out;     // [rows, heads * head_width]
  at::Tensor totals;  // [rows, heads] log of the sum of each row's exponentials: with it the backward pass makes the weights again
};
struct AttentionSlopes { at::Tensor q, k, v; };

/// softmax(q k^T / sqrt(head_width)) v, each row seeing itself and what lies before it, with `window` > 0 that many rows in all. q: [rows, heads,
/// head_width], k, v: [rows, kv_heads, head_width], float32, contiguous. The same bits on any number of threads.
Attended attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionLayout& layout, std::int64_t window);

/// Slopes towards q, k and v from those towards `attended.out`, [rows, heads * head_width] float32, contiguous. Nothing of the size of the weights is
/// kept for that (Dao et al. 2022).
AttentionSlopes attend_backward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Attended& attended, const at::Tensor& slopes_of_out, const AttentionLayout& layout,
                                std::int64_t window);

/// attend(), differentiable in q, k and v.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::shared_ptr<const AttentionLayout> layout, std::int64_t window);

}  // namespace cai
