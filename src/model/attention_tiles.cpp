// Attention of training in tiles of bfloat16 (AMX): for 32 rows of each head that shares a task's keys,
// scores and slopes are made in float32, and what is multiplied is rounded. A tile's right side wants pairs
// of what is summed over, its left side rows of them:
//   scores = q k^T, slopes of weights = d_out v^T    over the head's width: keys and values `across`, [width
//   / 2, positions] words out = weights v, d_q = slopes k                  over positions: values and keys
//   `paired`, [positions / 2, width] words d_k^T = q^T slopes, d_v^T = d_out^T weights      over rows: slopes
//   and weights paired, q and d_out across
#include "cai/model/attention.hpp"

// GCC 12 warns about its own undefined-value intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include <cstring>

#include "cai/base/amx.hpp"
#include "cai/base/bfloat16.hpp"

#define CAI_TILES __attribute__((target("avx512f,avx512bw,avx512bf16")))

namespace cai {
namespace {

constexpr std::int64_t kRows = 2 * kTileRows;  // queries of a head at once; positions and columns a step

std::int64_t padded(std::int64_t n) {
  return (n + kRows - 1) / kRows * kRows;
}

// 16 x 16 words.
CAI_TILES void transpose(const Pair* from, std::int64_t from_row, Pair* to, std::int64_t to_row) {
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i)
    a[i] = _mm512_loadu_si512(from + i * from_row);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2)
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]), b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {  // a[4 g + c]: of rows 4 g to 4 g + 3, columns c, c + 4, c + 8 and c + 12
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]), a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]),
          a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i low = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88),
                  high = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);
    const __m512i low2 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88),
                  high2 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
    _mm512_storeu_si512(to + c * to_row, _mm512_shuffle_i32x4(low, low2, 0x88));
    _mm512_storeu_si512(to + (c + 8) * to_row, _mm512_shuffle_i32x4(low, low2, 0xdd));
    _mm512_storeu_si512(to + (c + 4) * to_row, _mm512_shuffle_i32x4(high, high2, 0x88));
    _mm512_storeu_si512(to + (c + 12) * to_row, _mm512_shuffle_i32x4(high, high2, 0xdd));
  }
}

// Pairs of (first[i], second[i]) for sixteen i.
CAI_TILES inline __m512i paired(__m512 first, __m512 second) {
  alignas(64) static constexpr std::uint16_t kOrder[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                           21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                           11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

// [count, width] rows in float32, one after the other in a buffer; zeros up to a multiple of kRows.
struct Gathered {
  std::vector<float> rows;
  std::int64_t count = 0, width = 0;

  void start(std::int64_t rows_at_most, std::int64_t w) {
    count = padded(rows_at_most), width = w;
    rows.assign(static_cast<std::size_t>(count * w), 0.0f);
  }
  void put(std::int64_t at, const float* from, std::int64_t n, std::int64_t stride) {
    for (std::int64_t i = 0; i < n; ++i)
      std::copy_n(from + i * stride, width, rows.data() + (at + i) * width);
  }
};

// [count / 2, width]: pairs of rows.
CAI_TILES void pair_rows(const Gathered& from, std::vector<std::uint32_t>& to) {
  to.resize(from.rows.size() / 2);
  const float* x = from.rows.data();
  Pair* at = to.data();
  for (std::int64_t r = 0; r < from.count; r += 2, x += 2 * from.width)
    for (std::int64_t i = 0; i < from.width; i += 16, at += 16)
      _mm512_storeu_si512(at, paired(_mm512_loadu_ps(x + i), _mm512_loadu_ps(x + from.width + i)));
}

// [count, width / 2]: each row as pairs.
CAI_TILES void pair_columns(const Gathered& from, std::vector<std::uint32_t>& to) {
  to.resize(from.rows.size() / 2);
  to_pairs(from.rows.data(), static_cast<std::int64_t>(from.rows.size()), to.data());
}

// [rows, columns] becomes [columns, rows], both multiples of 16.
CAI_TILES void turn(const Pair* from, std::int64_t rows, std::int64_t columns, Pair* to) {
  for (std::int64_t r = 0; r < rows; r += 16)
    for (std::int64_t c = 0; c < columns; c += 16)
      transpose(from + r * columns + c, columns, to + c * rows + r, rows);
}

// c [32, columns] = a [32, depth] b [depth, columns], depth in pairs; columns a multiple of 32, rows of c as
// far apart as `columns` at least.
CAI_TILES void multiply(const Pair* a, std::int64_t a_row, const Pair* b, std::int64_t b_row,
                        std::int64_t depth, std::int64_t columns, float* c, std::int64_t c_row, bool adds) {
  for (std::int64_t j = 0; j < columns; j += kRows) {
    float* const to = c + j;
    if (adds) {
      TileRegisters::load<0>(to, c_row), TileRegisters::load<1>(to + 16, c_row);
      TileRegisters::load<2>(to + kTileRows * c_row, c_row),
          TileRegisters::load<3>(to + kTileRows * c_row + 16, c_row);
    } else {
      TileRegisters::clear<0, 1, 2, 3>();
    }
    for (std::int64_t k = 0; k < depth; k += kTilePairs) {
      TileRegisters::load<4>(a + k, a_row);
      TileRegisters::load<6>(b + k * b_row + j, b_row);
      TileRegisters::multiply<0, 4, 6>();
      TileRegisters::load<7>(b + k * b_row + j + 16, b_row);
      TileRegisters::multiply<1, 4, 7>();
      TileRegisters::load<5>(a + kTileRows * a_row + k, a_row);
      TileRegisters::multiply<2, 5, 6>();
      TileRegisters::multiply<3, 5, 7>();
    }
    TileRegisters::store<0>(to, c_row), TileRegisters::store<1>(to + 16, c_row);
    TileRegisters::store<2>(to + kTileRows * c_row, c_row),
        TileRegisters::store<3>(to + kTileRows * c_row + 16, c_row);
  }
}

// Which of sixteen positions from `at` on lie in [from, to).
__mmask16 seen_of(std::int64_t at, std::int64_t from, std::int64_t to) {
  const auto below = [&](std::int64_t end) { return (1u << std::clamp<std::int64_t>(end - at, 0, 16)) - 1; };
  return static_cast<__mmask16>(below(to) & ~below(from));
}

// One segment's rows of the heads that share a key and value head, by blocks of kRows.
struct Task {
  const AttentionLayout::Segment& segment;
  const AttentionShape& shape;
  std::int64_t kv_head, row, begin;  // row: positions, padded; begin: its first row

  Task(const AttentionLayout& layout, const AttentionShape& s, std::int64_t t)
      : segment(layout.segments[static_cast<std::size_t>(t / s.kv_heads)]),
        shape(s),
        kv_head(t % s.kv_heads),
        row(padded(segment.positions())),
        begin(segment.own().begin) {}

  struct Block {
    std::int64_t first, rows, seen;
  };  // seen: positions, padded
  template <class Body>
  void by_block(const Body& body) const {
    for (std::int64_t r = 0; r < segment.own().length; r += kRows) {
      const std::int64_t rows = std::min(kRows, segment.own().length - r);
      body(Block{r, rows, padded(segment.start + r + rows)});
    }
  }

  std::int64_t query(const Block& b, std::int64_t g) const {
    return (begin + b.first) * shape.q_row() + (kv_head * shape.group() + g) * shape.width;
  }
  std::int64_t total(const Block& b, std::int64_t g) const {
    return (begin + b.first) * shape.heads + kv_head * shape.group() + g;
  }
  std::int64_t last(const Block& b, std::int64_t r) const {
    return r < b.rows ? segment.start + b.first + r + 1 : 0;
  }  // row r sees what lies before that
  std::int64_t first(const Block& b, std::int64_t r) const {
    return shape.window > 0 ? std::max<std::int64_t>(0, last(b, r) - shape.window) : 0;
  }

  void gather(const float* keys, Gathered& to) const {
    to.start(segment.positions(), shape.width);
    segment.by_piece(
        row, [&](const AttentionLayout::Piece& piece, std::int64_t position, std::int64_t count) {
          to.put(position, keys + piece.begin * shape.k_row() + kv_head * shape.width, count, shape.k_row());
        });
  }
};

// Scores of one row become exp(scale score - the highest), in pairs, zeros where it does not see. Returns the
// sum and log of the sum over what it sees.
struct Sum {
  float sum, log;
};
CAI_TILES Sum weigh(const float* scores, std::int64_t from, std::int64_t to, std::int64_t seen, float scale,
                    Pair* weights) {
  const __m512 none = _mm512_set1_ps(-INFINITY);
  __m512 most = none, sum = _mm512_setzero_ps();
  for (std::int64_t t = from / 16 * 16; t < to; t += 16)
    most = _mm512_max_ps(most, _mm512_mask_loadu_ps(none, seen_of(t, from, to), scores + t));
  const float highest = _mm512_reduce_max_ps(most) * scale;
  const __m512 power = _mm512_set1_ps(scale * kPowers), shift = _mm512_set1_ps(-highest * kPowers);
  const auto of = [&](std::int64_t t) CAI_TILES {
    const __m512 e = _mm512_maskz_mov_ps(
        seen_of(t, from, to), exp_of_power(_mm512_fmadd_ps(_mm512_loadu_ps(scores + t), power, shift)));
    sum = _mm512_add_ps(sum, e);
    return e;
  };
  for (std::int64_t t = 0; t < seen; t += 32) {
    const __m512 low = of(t), high = of(t + 16);
    _mm512_storeu_si512(weights + t / 2, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
  const float all = _mm512_reduce_add_ps(sum);
  return {all, highest + std::log(all)};
}

CAI_TILES inline float dot(const float* a, const float* b, std::int64_t n) {
  __m512 sum = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < n; i += 16)
    sum = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), sum);
  return _mm512_reduce_add_ps(sum);
}

// What the slopes of two rows' scores need: where they see, log of their sums, and their slopes along their
// results.
struct RowPair {
  std::int64_t from[2], to[2];
  float total[2], along[2];
};

// From scores and slopes of weights, both [2, seen] of rows `row` apart: weights and slopes of scores, pairs
// of the two rows; and each row's slopes in pairs.
CAI_TILES void through_softmax(const float* scores, const float* slopes, std::int64_t row,
                               const RowPair& rows, std::int64_t seen, float scale, Pair* weights_paired,
                               Pair* slopes_paired, Pair* slopes_in_rows) {
  const __m512 power = _mm512_set1_ps(scale * kPowers);
  for (std::int64_t t = 0; t < seen; t += 32) {
    __m512 d[2][2];
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      __m512 w[2];
#pragma GCC unroll 2
      for (int r = 0; r < 2; ++r) {
        const std::int64_t at = t + 16 * h;
        w[r] = _mm512_maskz_mov_ps(seen_of(at, rows.from[r], rows.to[r]),
                                   exp_of_power(_mm512_fmadd_ps(_mm512_loadu_ps(scores + r * row + at), power,
                                                                _mm512_set1_ps(-rows.total[r] * kPowers))));
        d[r][h] = _mm512_mul_ps(
            _mm512_mul_ps(_mm512_set1_ps(scale), w[r]),
            _mm512_sub_ps(_mm512_loadu_ps(slopes + r * row + at), _mm512_set1_ps(rows.along[r])));
      }
      _mm512_storeu_si512(weights_paired + t + 16 * h, paired(w[0], w[1]));
      _mm512_storeu_si512(slopes_paired + t + 16 * h, paired(d[0][h], d[1][h]));
    }
#pragma GCC unroll 2
    for (int r = 0; r < 2; ++r)
      _mm512_storeu_si512(slopes_in_rows + (r * row + t) / 2, (__m512i)_mm512_cvtne2ps_pbh(d[r][1], d[r][0]));
  }
}

// to [n, width], rows `stride` apart, += the first n columns from `at` on of `from` [width, row].
CAI_TILES void add_turned(const std::vector<float>& from, std::int64_t row, std::int64_t at, std::int64_t n,
                          std::int64_t width, float* to, std::int64_t stride) {
  alignas(64) float block[16][16];
  for (std::int64_t x = 0; x < width; x += 16)
    for (std::int64_t p = 0; p < n; p += 16) {
      alignas(64) float columns[16][16] = {};
      for (int i = 0; i < 16; ++i)
        std::copy_n(from.data() + (x + i) * row + at + p, std::min<std::int64_t>(16, n - p), columns[i]);
      transpose(reinterpret_cast<const Pair*>(columns), 16, reinterpret_cast<Pair*>(block), 16);
      for (std::int64_t i = 0; i < std::min<std::int64_t>(16, n - p); ++i)
        for (int j = 0; j < 16; ++j)
          to[(p + i) * stride + x + j] += block[i][j];
    }
}

}  // namespace

bool tiles_attend(const AttentionShape& shape) {
  return has_amx() && shape.width % kRows == 0 && shape.cap == 0;
}

CAI_TILES void attend_tiles(const float* q, const float* k, const float* v, const AttentionLayout& layout,
                            const AttentionShape& shape, float* out, float* totals) {
  const std::int64_t tasks = static_cast<std::int64_t>(layout.segments.size()) * shape.kv_heads,
                     width = shape.width;
#pragma omp parallel
  {
    const TileRegisters registers(kTileRows);
    Gathered rows;
    std::vector<std::uint32_t> pairs, keys_across, values, queries, weights;
    std::vector<float> scores, sums(static_cast<std::size_t>(kRows * width));
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t t = 0; t < tasks; ++t) {
      const Task task(layout, shape, t);
      task.gather(k, rows), pair_columns(rows, pairs);
      keys_across.resize(pairs.size()), turn(pairs.data(), task.row, width / 2, keys_across.data());
      task.gather(v, rows), pair_rows(rows, values);
      scores.resize(static_cast<std::size_t>(kRows * task.row)), weights.resize(scores.size() / 2);
      task.by_block([&](const Task::Block& block) CAI_TILES {
        for (std::int64_t g = 0; g < shape.group(); ++g) {
          rows.start(kRows, width), rows.put(0, q + task.query(block, g), block.rows, shape.q_row());
          pair_columns(rows, queries);
          multiply(queries.data(), width / 2, keys_across.data(), task.row, width / 2, block.seen,
                   scores.data(), task.row, false);
          float inverse[kRows];
          for (std::int64_t r = 0; r < block.rows; ++r) {
            const Sum sum = weigh(scores.data() + r * task.row, task.first(block, r), task.last(block, r),
                                  block.seen, shape.scale(), weights.data() + r * task.row / 2);
            inverse[r] = 1.0f / sum.sum, totals[task.total(block, g) + r * shape.heads] = sum.log;
          }
          multiply(weights.data(), task.row / 2, values.data(), width, block.seen / 2, width, sums.data(),
                   width, false);
          for (std::int64_t r = 0; r < block.rows; ++r)
            for (std::int64_t x = 0; x < width; ++x)
              out[task.query(block, g) + r * shape.q_row() + x] =
                  sums[static_cast<std::size_t>(r * width + x)] * inverse[r];
        }
      });
    }
  }
}

CAI_TILES void attend_tiles_backward(const float* q, const float* k, const float* v, const float* out,
                                     const float* totals, const float* d_out, const AttentionLayout& layout,
                                     const AttentionShape& shape, float* d_q, float* d_k, float* d_v,
                                     EarlierSlopes& earlier) {
  const std::int64_t tasks = static_cast<std::int64_t>(layout.segments.size()) * shape.kv_heads,
                     width = shape.width, group_rows = kRows * shape.group();
#pragma omp parallel
  {
    const TileRegisters registers(kTileRows);
    Gathered rows;
    std::vector<std::uint32_t> pairs, keys_across, values_across, keys, side,
        q_turned(static_cast<std::size_t>(width * group_rows / 2)), d_turned(q_turned), slopes_in_rows,
        weights_paired, slopes_paired;
    std::vector<float> scores, slopes, sums(static_cast<std::size_t>(kRows * width)), d_keys, d_values;
#pragma omp for schedule(dynamic, 1)
    for (std::int64_t t = 0; t < tasks; ++t) {
      const Task task(layout, shape, t);
      task.gather(v, rows), pair_columns(rows, pairs);
      values_across.resize(pairs.size()), turn(pairs.data(), task.row, width / 2, values_across.data());
      task.gather(k, rows), pair_columns(rows, pairs), pair_rows(rows, keys);
      keys_across.resize(pairs.size()), turn(pairs.data(), task.row, width / 2, keys_across.data());
      const auto block_size = static_cast<std::size_t>(kRows * task.row);
      scores.resize(block_size), slopes.resize(block_size), slopes_in_rows.resize(block_size / 2);
      weights_paired.resize(static_cast<std::size_t>(group_rows / 2 * task.row)),
          slopes_paired.resize(weights_paired.size());
      d_keys.assign(static_cast<std::size_t>(width * task.row), 0.0f), d_values.assign(d_keys.size(), 0.0f);
      task.by_block([&](const Task::Block& block) CAI_TILES {
        for (std::int64_t g = 0; g < shape.group(); ++g) {
          const std::int64_t at = task.query(block, g);
          // Rows as they are for a left side, and turned, with the rows of the group's other heads behind
          // them.
          const auto take = [&](const float* from, std::vector<std::uint32_t>& turned) CAI_TILES {
            rows.start(kRows, width), rows.put(0, from + at, block.rows, shape.q_row());
            pair_rows(rows, side);
            for (std::int64_t x = 0; x < width; x += 16)
              transpose(side.data() + x, width, turned.data() + x * group_rows / 2 + g * kRows / 2,
                        group_rows / 2);
            pair_columns(rows, side);
          };
          take(q, q_turned);
          multiply(side.data(), width / 2, keys_across.data(), task.row, width / 2, block.seen, scores.data(),
                   task.row, false);
          take(d_out, d_turned);
          multiply(side.data(), width / 2, values_across.data(), task.row, width / 2, block.seen,
                   slopes.data(), task.row, false);
          for (std::int64_t r = 0; r < kRows; r += 2) {
            RowPair two = {};
            for (std::int64_t i = 0; i < 2 && r + i < block.rows; ++i) {
              const std::int64_t mine = at + (r + i) * shape.q_row();
              two.from[i] = task.first(block, r + i), two.to[i] = task.last(block, r + i);
              two.total[i] = totals[task.total(block, g) + (r + i) * shape.heads],
              two.along[i] = dot(d_out + mine, out + mine, width);
            }
            const std::int64_t paired_at = (g * kRows + r) / 2 * task.row;
            through_softmax(scores.data() + r * task.row, slopes.data() + r * task.row, task.row, two,
                            block.seen, shape.scale(), weights_paired.data() + paired_at,
                            slopes_paired.data() + paired_at, slopes_in_rows.data() + r * task.row / 2);
          }
          multiply(slopes_in_rows.data(), task.row / 2, keys.data(), width, block.seen / 2, width,
                   sums.data(), width, false);
          for (std::int64_t r = 0; r < block.rows; ++r)
            std::copy_n(sums.data() + r * width, width, d_q + at + r * shape.q_row());
        }
        for (std::int64_t x = 0; x < width; x += kRows) {
          const std::int64_t turned_at = x * group_rows / 2, to = x * task.row;
          multiply(q_turned.data() + turned_at, group_rows / 2, slopes_paired.data(), task.row,
                   group_rows / 2, block.seen, d_keys.data() + to, task.row, true);
          multiply(d_turned.data() + turned_at, group_rows / 2, weights_paired.data(), task.row,
                   group_rows / 2, block.seen, d_values.data() + to, task.row, true);
        }
      });
      const std::int64_t start = task.segment.start, own = task.begin * shape.k_row() + task.kv_head * width;
      std::vector<float>&early_k = earlier.k[static_cast<std::size_t>(t)],
      &early_v = earlier.v[static_cast<std::size_t>(t)];
      early_k.assign(static_cast<std::size_t>(start * width), 0.0f), early_v.assign(early_k.size(), 0.0f);
      add_turned(d_keys, task.row, 0, start, width, early_k.data(), width),
          add_turned(d_values, task.row, 0, start, width, early_v.data(), width);
      add_turned(d_keys, task.row, start, task.segment.own().length, width, d_k + own, shape.k_row());
      add_turned(d_values, task.row, start, task.segment.own().length, width, d_v + own, shape.k_row());
    }
  }
}

}  // namespace cai
