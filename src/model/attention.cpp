#include "cai/model/attention.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cai/base/lanes.hpp"
#include "cai/model/tensors.hpp"
#include "cai/model/varlen.hpp"

// Compiled for each width of vector registers, chosen at load time.
#define CAI_WIDE __attribute__((target_clones("avx512f", "avx2,fma", "default")))

namespace cai {
namespace {

constexpr std::int64_t kBlock =
    48;  // query rows at once: what they do not see past their last one is left out
constexpr std::int64_t kPadding = 32;  // floats that a row of weights is filled up to

// A matrix in memory: element (r, c) at data[r * row + c * column].
struct Matrix {
  const float* data;
  std::int64_t row, column = 1;
};

// Rows x (Vectors of V) of c (+)= a b.
template <class V, int Rows, int Vectors, bool is_pinned>
[[gnu::always_inline]] inline void tile(Matrix a, const float* b, std::int64_t b_row, std::int64_t depth,
                                        float* c, std::int64_t c_row, bool adds) {
  constexpr std::int64_t kLanes = sizeof(V) / sizeof(float);
  V sum[Rows][Vectors];
  for (int r = 0; r < Rows; ++r)
    for (int j = 0; j < Vectors; ++j) {
      sum[r][j] = V{};
      if (adds) std::memcpy(&sum[r][j], c + r * c_row + j * kLanes, sizeof(V));
    }
  for (std::int64_t k = 0; k < depth; ++k) {
    V x[Vectors];
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) {
      std::memcpy(&x[j], b + k * b_row + j * kLanes, sizeof(V));
      if constexpr (is_pinned)
        asm("" : "+v"(x[j]));  // stays in its register; GCC 12 would load it again for each row
    }
#pragma GCC unroll 6
    for (int r = 0; r < Rows; ++r) {
      const float w = a.data[r * a.row + k * a.column];
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j)
        sum[r][j] += w * x[j];
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int j = 0; j < Vectors; ++j)
      std::memcpy(c + r * c_row + j * kLanes, &sum[r][j], sizeof(V));
}

template <class V, int Vectors, bool is_pinned>
[[gnu::always_inline]] inline void tiles(Matrix a, const float* b, std::int64_t b_row, std::int64_t rows,
                                         std::int64_t depth, float* c, std::int64_t c_row, bool adds) {
  std::int64_t r = 0;
  for (; r + 6 <= rows; r += 6)
    tile<V, 6, Vectors, is_pinned>({a.data + r * a.row, a.row, a.column}, b, b_row, depth, c + r * c_row,
                                   c_row, adds);
  for (; r < rows; ++r)
    tile<V, 1, Vectors, is_pinned>({a.data + r * a.row, a.row, a.column}, b, b_row, depth, c + r * c_row,
                                   c_row, adds);
}

// c [rows, columns] (+)= a [rows, depth] b [depth, columns].
template <class V, bool is_pinned>
[[gnu::always_inline]] inline void product_of(Matrix a, Matrix b, std::int64_t rows, std::int64_t columns,
                                              std::int64_t depth, float* c, std::int64_t c_row, bool adds) {
  constexpr std::int64_t kLanes = sizeof(V) / sizeof(float);
  std::int64_t j = 0;
  for (; j + 2 * kLanes <= columns; j += 2 * kLanes)
    tiles<V, 2, is_pinned>(a, b.data + j, b.row, rows, depth, c + j, c_row, adds);
  for (; j + kLanes <= columns; j += kLanes)
    tiles<V, 1, is_pinned>(a, b.data + j, b.row, rows, depth, c + j, c_row, adds);
  for (; j < columns; ++j)
    for (std::int64_t r = 0; r < rows; ++r) {
      float sum = adds ? c[r * c_row + j] : 0.0f;
      for (std::int64_t k = 0; k < depth; ++k)
        sum += a.data[r * a.row + k * a.column] * b.data[k * b.row + j];
      c[r * c_row + j] = sum;
    }
}

#define CAI_FUSED(isa) __attribute__((target(isa), optimize("fp-contract=fast"), noinline))

CAI_FUSED("avx512f")
void product_512(Matrix a, Matrix b, std::int64_t rows, std::int64_t columns, std::int64_t depth, float* c,
                 std::int64_t c_row, bool adds) {
  product_of<WideLanes, true>(a, b, rows, columns, depth, c, c_row, adds);
}

CAI_FUSED("avx2,fma")
void product_256(Matrix a, Matrix b, std::int64_t rows, std::int64_t columns, std::int64_t depth, float* c,
                 std::int64_t c_row, bool adds) {
  product_of<Lanes, false>(a, b, rows, columns, depth, c, c_row, adds);
}

void product_plain(Matrix a, Matrix b, std::int64_t rows, std::int64_t columns, std::int64_t depth, float* c,
                   std::int64_t c_row, bool adds) {
  product_of<Lanes, false>(a, b, rows, columns, depth, c, c_row, adds);
}

void product(Matrix a, Matrix b, std::int64_t rows, std::int64_t columns, std::int64_t depth, float* c,
             std::int64_t c_row, bool adds) {
  static const auto best = __builtin_cpu_supports("avx512f")                                 ? product_512
                           : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? product_256
                                                                                             : product_plain;
  best(a, b, rows, columns, depth, c, c_row, adds);
}

// Scores [from, to) of a row become weights, exp(scale score - total); all others of its `width` (whole
// lanes) become 0. A total that is not a number is made first, so that they sum to 1. Returns the total.
CAI_WIDE float weigh(float* scores, std::int64_t from, std::int64_t to, std::int64_t width, float scale,
                     float total) {
  constexpr float kUnseen = -1e30f;
  std::fill_n(scores, from, kUnseen), std::fill(scores + to, scores + width, kUnseen);
  const auto each = [&](const auto& body) __attribute__((always_inline)) {
    for (std::int64_t i = 0; i < width; i += 8) {
      Lanes x;
      std::memcpy(&x, scores + i, sizeof x);
      if (body(x)) std::memcpy(scores + i, &x, sizeof x);
    }
  };
  if (!std::isnan(total)) {
    each([&](Lanes & x) __attribute__((always_inline)) { return x = exp_lanes(x * scale - total), true; });
    return total;
  }
  Lanes most = Lanes{} + kUnseen, sums = {};
  each([&](Lanes & x) __attribute__((always_inline)) { return most = x > most ? x : most, false; });
  float highest = most[0], sum = 0;
  for (int l = 1; l < 8; ++l)
    highest = std::max(highest, most[l]);
  highest *= scale;
  each([&](Lanes & x)
           __attribute__((always_inline)) { return x = exp_lanes(x * scale - highest), sums += x, true; });
  for (int l = 0; l < 8; ++l)
    sum += sums[l];
  const float inverse = 1.0f / sum;
  each([&](Lanes & x) __attribute__((always_inline)) { return x *= inverse, true; });
  return highest + std::log(sum);
}

// Weights' gradients become scores' gradients: scale * weight * (gradient - along), along being the sum of
// weight * gradient over the row.
CAI_WIDE void through_softmax(const float* weights, std::int64_t n, float scale, float along,
                              float* gradients) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i)
    gradients[i] = scale * weights[i] * (gradients[i] - along);
}

// Scores s become cap tanh(scale s / cap) / scale: weigh() multiplies them with the scale.
void cap_scores(float* scores, std::int64_t n, float scale, float cap) {
  for (std::int64_t i = 0; i < n; ++i)
    scores[i] = cap * std::tanh(scores[i] * scale / cap) / scale;
}

// Slopes towards capped scores become those towards the scores: times 1 - tanh^2. A weight is exp(capped
// score - total); where it is 0 its slope is.
void through_cap(const float* weights, std::int64_t n, float total, float cap, float* slopes) {
  for (std::int64_t i = 0; i < n; ++i) {
    const float t = weights[i] > 0 ? (std::log(weights[i]) + total) / cap : 0.0f;
    slopes[i] *= 1.0f - t * t;
  }
}

CAI_WIDE float dot(const float* a, const float* b, std::int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i)
    sum += a[i] * b[i];
  return sum;
}

std::int64_t padded(std::int64_t n) {
  return (n + kPadding - 1) / kPadding * kPadding;
}

// One head's rows of all pieces, transposed: [width, padded(length)], filled up with zeros.
void transpose(const float* from, const AttentionLayout::Segment& segment, const AttentionShape& shape,
               std::int64_t head, std::vector<float>& to) {
  const std::int64_t row = padded(segment.positions());
  to.assign(static_cast<std::size_t>(shape.width * row), 0.0f);
  std::int64_t position = 0;
  for (const auto& [begin, count] : segment.pieces)
    for (std::int64_t i = 0; i < count; ++i, ++position)
      for (std::int64_t x = 0; x < shape.width; ++x)
        to[static_cast<std::size_t>(x * row + position)] =
            from[(begin + i) * shape.k_row() + head * shape.width + x];
}

// One segment's queries of the heads that share a key and value head.
struct Task {
  const AttentionLayout::Segment& segment;
  const AttentionShape& shape;
  std::int64_t kv_head;
  std::int64_t begin() const { return segment.own().begin; }
  std::int64_t length() const { return segment.own().length; }
  std::int64_t row() const { return padded(segment.positions()); }
  std::int64_t head(std::int64_t g) const { return kv_head * shape.group() + g; }

  // Calls body(g, first row, rows, positions they see) by blocks of rows.
  template <class Body>
  void by_block(const Body& body) const {
    for (std::int64_t g = 0; g < shape.group(); ++g)
      for (std::int64_t r = 0; r < length(); r += kBlock) {
        const std::int64_t rows = std::min(kBlock, length() - r);
        body(g, r, rows, segment.start + r + rows);
      }
  }

  // scores [rows, row()] become weights. totals, of each row, are made, or taken as they are from `known`.
  void weights(const float* q, const std::vector<float>& keys, std::int64_t g, std::int64_t first,
               std::int64_t rows, std::int64_t seen, float* scores, float* totals, const float* known) const {
    const float* const from = q + (begin() + first) * shape.q_row() + head(g) * shape.width;
    product({from, shape.q_row()}, {keys.data(), row()}, rows, padded(seen), shape.width, scores, row(),
            false);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t to = segment.start + first + r + 1,
                         at = shape.window > 0 ? std::max<std::int64_t>(0, to - shape.window) : 0;
      const std::int64_t mine = (begin() + first + r) * shape.heads + head(g);
      if (shape.cap > 0)
        cap_scores(scores + r * row() + at, to - at, shape.scale(), static_cast<float>(shape.cap));
      const float total =
          weigh(scores + r * row(), at, to, padded(seen), shape.scale(), known ? known[mine] : NAN);
      if (!known) totals[mine] = total;
    }
  }
};

// As attend_tiles, in float32.
void attend_floats(const float* q, const float* k, const float* v, const AttentionLayout& layout,
                   const AttentionShape& shape, float* out, float* totals) {
  const std::int64_t tasks = static_cast<std::int64_t>(layout.segments.size()) * shape.kv_heads;
#pragma omp parallel
  {
    std::vector<float> k_across, scores;
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t t = 0; t < tasks; ++t) {
      const Task task{layout.segments[static_cast<std::size_t>(t / shape.kv_heads)], shape,
                      t % shape.kv_heads};
      transpose(k, task.segment, shape, task.kv_head, k_across);
      scores.resize(static_cast<std::size_t>(kBlock * task.row()));
      task.by_block([&](std::int64_t g, std::int64_t first, std::int64_t rows, std::int64_t seen) {
        task.weights(q, k_across, g, first, rows, seen, scores.data(), totals, nullptr);
        float* const result = out + (task.begin() + first) * shape.q_row() + task.head(g) * shape.width;
        task.segment.by_piece(
            seen, [&](const AttentionLayout::Piece& piece, std::int64_t position, std::int64_t count) {
              product({scores.data() + position, task.row()},
                      {v + piece.begin * shape.k_row() + task.kv_head * shape.width, shape.k_row()}, rows,
                      shape.width, count, result, shape.q_row(), position > 0);
            });
      });
    }
  }
}

// As attend_tiles_backward, in float32.
void attend_floats_backward(const float* q, const float* k, const float* v, const float* out,
                            const float* totals, const float* d_out, const AttentionLayout& layout,
                            const AttentionShape& shape, float* d_q, float* d_k, float* d_v,
                            EarlierSlopes& earlier) {
  const std::int64_t tasks = static_cast<std::int64_t>(layout.segments.size()) * shape.kv_heads;
#pragma omp parallel
  {
    std::vector<float> k_across, v_across, weights, slopes;
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t t = 0; t < tasks; ++t) {
      const Task task{layout.segments[static_cast<std::size_t>(t / shape.kv_heads)], shape,
                      t % shape.kv_heads};
      transpose(k, task.segment, shape, task.kv_head, k_across),
          transpose(v, task.segment, shape, task.kv_head, v_across);
      weights.resize(static_cast<std::size_t>(kBlock * task.row())), slopes.resize(weights.size());
      std::vector<float>&early_k = earlier.k[static_cast<std::size_t>(t)],
      &early_v = earlier.v[static_cast<std::size_t>(t)];
      early_k.assign(static_cast<std::size_t>(task.segment.start * shape.width), 0.0f),
          early_v.assign(early_k.size(), 0.0f);
      task.by_block([&](std::int64_t g, std::int64_t first, std::int64_t rows, std::int64_t seen) {
        const std::int64_t at = (task.begin() + first) * shape.q_row() + task.head(g) * shape.width,
                           row = task.row();
        task.weights(q, k_across, g, first, rows, seen, weights.data(), nullptr, totals);
        product({d_out + at, shape.q_row()}, {v_across.data(), row}, rows, padded(seen), shape.width,
                slopes.data(), row, false);
        for (std::int64_t r = 0; r < rows; ++r) {
          through_softmax(weights.data() + r * row, padded(seen), shape.scale(),
                          dot(d_out + at + r * shape.q_row(), out + at + r * shape.q_row(), shape.width),
                          slopes.data() + r * row);
          if (shape.cap > 0)
            through_cap(weights.data() + r * row, padded(seen),
                        totals[(task.begin() + first + r) * shape.heads + task.head(g)],
                        static_cast<float>(shape.cap), slopes.data() + r * row);
        }
        task.segment.by_piece(
            seen, [&](const AttentionLayout::Piece& piece, std::int64_t position, std::int64_t count) {
              const std::int64_t rows_at = piece.begin * shape.k_row() + task.kv_head * shape.width;
              product({slopes.data() + position, row}, {k + rows_at, shape.k_row()}, rows, shape.width, count,
                      d_q + at, shape.q_row(), position > 0);
              const bool is_own = position == task.segment.start;
              float* const for_k = is_own ? d_k + rows_at : early_k.data() + position * shape.width;
              float* const for_v = is_own ? d_v + rows_at : early_v.data() + position * shape.width;
              const std::int64_t to_row = is_own ? shape.k_row() : shape.width;
              product({slopes.data() + position, 1, row}, {q + at, shape.q_row()}, count, shape.width, rows,
                      for_k, to_row, true);
              product({weights.data() + position, 1, row}, {d_out + at, shape.q_row()}, count, shape.width,
                      rows, for_v, to_row, true);
            });
      });
    }
  }
}

void add_earlier(const EarlierSlopes& earlier, const AttentionLayout& layout, const AttentionShape& shape,
                 float* d_k, float* d_v) {
#pragma omp parallel for schedule(static)
  for (std::int64_t h = 0; h < shape.kv_heads; ++h)
    for (std::size_t s = 0; s < layout.segments.size(); ++s) {
      const AttentionLayout::Segment& segment = layout.segments[s];
      const std::size_t t = s * static_cast<std::size_t>(shape.kv_heads) + static_cast<std::size_t>(h);
      segment.by_piece(segment.start,
                       [&](const AttentionLayout::Piece& piece, std::int64_t position, std::int64_t count) {
                         for (std::int64_t i = 0; i < count; ++i)
                           for (std::int64_t x = 0; x < shape.width; ++x) {
                             const std::int64_t to = (piece.begin + i) * shape.k_row() + h * shape.width + x,
                                                from = (position + i) * shape.width + x;
                             d_k[to] += earlier.k[t][static_cast<std::size_t>(from)],
                                 d_v[to] += earlier.v[t][static_cast<std::size_t>(from)];
                           }
                       });
    }
}

float* floats(const at::Tensor& t) {
  return t.data_ptr<float>();
}

}  // namespace

Attended attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionLayout& layout,
                const AttentionRule& rule, bool rounds) {
  const AttentionShape shape{q.size(1), k.size(1), q.size(2), rule.window, rule.scale, rule.cap};
  Attended made{at::empty({q.size(0), shape.q_row()}, q.options()),
                at::empty({q.size(0), shape.heads}, q.options())};
  (rounds && tiles_attend(shape) ? attend_tiles : attend_floats)(
      floats(q), floats(k), floats(v), layout, shape, floats(made.out), floats(made.totals));
  return made;
}

AttentionSlopes attend_backward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const Attended& attended, const at::Tensor& slopes_of_out,
                                const AttentionLayout& layout, const AttentionRule& rule, bool rounds) {
  const AttentionShape shape{q.size(1), k.size(1), q.size(2), rule.window, rule.scale, rule.cap};
  AttentionSlopes d{at::empty_like(q), at::zeros_like(k), at::zeros_like(v)};
  const std::size_t tasks = layout.segments.size() * static_cast<std::size_t>(shape.kv_heads);
  EarlierSlopes earlier{std::vector<std::vector<float>>(tasks), std::vector<std::vector<float>>(tasks)};
  (rounds && tiles_attend(shape) ? attend_tiles_backward : attend_floats_backward)(
      floats(q), floats(k), floats(v), floats(attended.out), floats(attended.totals), floats(slopes_of_out),
      layout, shape, floats(d.q), floats(d.k), floats(d.v), earlier);
  add_earlier(earlier, layout, shape, floats(d.k), floats(d.v));
  return d;
}

namespace {

struct KeptLayout : torch::CustomClassHolder {
  KeptLayout(std::shared_ptr<const AttentionLayout> l, const AttentionRule& r)
      : layout(std::move(l)), rule(r) {}
  std::shared_ptr<const AttentionLayout> layout;
  AttentionRule rule;
};

struct Attention : torch::autograd::Function<Attention> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& queries,
                            const at::Tensor& keys, const at::Tensor& values,
                            const std::shared_ptr<const AttentionLayout>& layout, const AttentionRule& rule) {
    const at::Tensor q = queries.contiguous(), k = keys.contiguous(), v = values.contiguous();
    const Attended made = attend(q, k, v, *layout, rule, false);
    context->save_for_backward({q, k, v, made.out, made.totals});
    context->saved_data["layout"] = c10::IValue::make_capsule(c10::make_intrusive<KeptLayout>(layout, rule));
    return made.out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto kept =
        c10::static_intrusive_pointer_cast<KeptLayout>(context->saved_data["layout"].toCapsule());
    const AttentionSlopes d = attend_backward(saved[0], saved[1], saved[2], {saved[3], saved[4]},
                                              gradients[0].contiguous(), *kept->layout, kept->rule, false);
    return {d.q, d.k, d.v, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::shared_ptr<const AttentionLayout> layout, const AttentionRule& rule) {
  if (!has_own_code(q)) return varlen_attention(q, k, v, *layout->on_device, rule);
  return Attention::apply(q, k, v, layout, rule);
}

}  // namespace cai
