// Causal attention over packed sequences, with its gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

namespace cai {

struct VarlenLayout;

/// Which rows of a pack see which: each segment's rows see the rows of its pieces up to themselves. The
/// pieces are the segments before it in its sequences and itself, in the order of positions.
struct AttentionLayout {
  struct Piece {
    std::int64_t begin, length;
  };  // rows
  struct Segment {
    std::int64_t start;  // position of its first row
    std::vector<Piece> pieces;
    const Piece& own() const { return pieces.back(); }
    std::int64_t positions() const { return start + own().length; }

    /// Calls body(piece, position of its first row, rows of it that are seen) for the pieces with one of the
    /// first `seen` positions.
    template <class Body>
    void by_piece(std::int64_t seen, const Body& body) const {
      std::int64_t position = 0;
      for (const Piece& piece : pieces) {
        if (position >= seen) return;
        body(piece, position, std::min(piece.length, seen - position));
        position += piece.length;
      }
    }
  };
  std::vector<Segment> segments;
  std::shared_ptr<const VarlenLayout> on_device;  // the same for a device (varlen.hpp)
};

/// What is done with products of queries and keys before the softmax.
struct AttentionRule {
  AttentionRule(std::int64_t w = 0, double s = 0, double c = 0) : window(w), scale(s), cap(c) {}
  std::int64_t window;  // > 0: rows that a row sees, itself included
  double scale;         // 0: 1 / sqrt(head_width)
  double cap;           // > 0: x becomes cap tanh(x / cap)
};

struct AttentionShape {
  std::int64_t heads, kv_heads, width, window;  // width: of a head; window as in the rule
  double own_scale = 0, cap = 0;
  std::int64_t group() const { return heads / kv_heads; }
  std::int64_t q_row() const { return heads * width; }
  std::int64_t k_row() const { return kv_heads * width; }
  float scale() const {
    return own_scale > 0 ? static_cast<float>(own_scale) : 1.0f / std::sqrt(static_cast<float>(width));
  }
};

struct Attended {
  at::Tensor out;     // [rows, heads * head_width]
  at::Tensor totals;  // [rows, heads] log of the sum of each row's exponentials: with it the backward pass
                      // makes the weights again
};
struct AttentionSlopes {
  at::Tensor q, k, v;
};

/// softmax(q k^T / sqrt(head_width)) v, or as the rule has it, each row seeing itself and what lies before
/// it. q: [rows, heads, head_width], k, v: [rows, kv_heads, head_width], float32, contiguous. The same bits
/// on any number of threads. With `rounds` what is multiplied may be rounded to bfloat16, where the CPU has
/// tiles for that (attention_tiles.cpp).
Attended attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionLayout& layout,
                const AttentionRule& rule, bool rounds);

/// Slopes towards q, k and v from those towards `attended.out`, [rows, heads * head_width] float32,
/// contiguous. Nothing of the size of the weights is kept for that (Dao et al. 2022).
AttentionSlopes attend_backward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const Attended& attended, const at::Tensor& slopes_of_out,
                                const AttentionLayout& layout, const AttentionRule& rule, bool rounds);

/// Slopes towards keys and values of earlier segments, [start, width] for each segment and key head: several
/// have some for the same rows, so they are added at the end, in order.
struct EarlierSlopes {
  std::vector<std::vector<float>> k, v;
};

/// The same two in tiles of bfloat16, of plain memory; `d_k` and `d_v` are zeros before, and miss what
/// `earlier` gets. Where tiles_attend() only.
bool tiles_attend(const AttentionShape& shape);
void attend_tiles(const float* q, const float* k, const float* v, const AttentionLayout& layout,
                  const AttentionShape& shape, float* out, float* totals);
void attend_tiles_backward(const float* q, const float* k, const float* v, const float* out,
                           const float* totals, const float* d_out, const AttentionLayout& layout,
                           const AttentionShape& shape, float* d_q, float* d_k, float* d_v,
                           EarlierSlopes& earlier);

/// attend() without rounding, differentiable in q, k and v; on a device varlen_attention() (varlen.hpp).
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::shared_ptr<const AttentionLayout> layout, const AttentionRule& rule);

}  // namespace cai
