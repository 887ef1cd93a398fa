// What products of every precision share: weights in panels of kPanel columns, and tiles of a few rows times
// one panel.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cai/engine/inputs.hpp"
#include "cai/engine/kernels.hpp"

namespace cai {

constexpr std::int64_t kPanel = 32;

template <class X, class Weight>
struct Tiles {
  int rows;  // of the largest tile
  void (*by_rows[13])(const X*, std::int64_t, const Weight*, float*,
                      std::int64_t);  // [r]: a tile of exactly r rows, `stride` apart in y
};

// Where sums go: y [rows, width] takes the panels' columns side by side, or is added to, with a bias or
// without; `gated`, half as many: a panel's columns are kGated gates and what they let through, and that goes
// to y, or in tiles to `next`.
struct Results {
  float* y;
  std::int64_t width;
  bool gated = false, adds = false;
  const float* bias = nullptr;  // [width]
  Inputs* next = nullptr;

  std::int64_t per_panel() const { return gated ? kGated : kPanel; }
  std::int64_t panels() const { return (width + per_panel() - 1) / per_panel(); }
  float* at(std::int64_t row, std::int64_t panel) const { return y + row * width + panel * per_panel(); }

  // Whether a panel's sums are results as they are, `width` apart.
  bool takes_whole(std::int64_t panel) const {
    return !gated && !adds && !bias && (panel + 1) * kPanel <= width;
  }

  // Else: `rows` rows of sums, kPanel apart.
  void take(const float* sums, std::int64_t rows, std::int64_t row, std::int64_t panel) const {
    const std::int64_t first = panel * per_panel(), columns = std::min(per_panel(), width - first);
    if (next)
      silu_multiply(sums, rows, columns, *next, row, first);
    else if (gated)
      silu_multiply(sums, rows, columns, at(row, panel), width);
    else
      take_sums(sums, rows, columns, bias ? bias + first : nullptr, adds, at(row, panel), width);
  }
};

static_assert(kPanel == 2 * kGated);

// results = x [rows, depth] times panels; `panel_size` and `row_size`: from one panel or row to the next.
template <class X, class Weight>
void multiply_panels(const Tiles<X, Weight>& t, const Weight* panels, std::int64_t panel_size, const X* x,
                     std::int64_t row_size, std::int64_t rows, std::int64_t depth, Results results) {
  const std::int64_t count = results.panels();
#pragma omp parallel for schedule(static)
  for (std::int64_t p = 0; p < count; ++p) {
    const Weight* panel = panels + p * panel_size;
    const bool whole = results.takes_whole(p);
    alignas(64) float sums[12 * kPanel];
    for (std::int64_t first = 0; first < rows; first += t.rows) {
      const int n = static_cast<int>(std::min<std::int64_t>(t.rows, rows - first));
      t.by_rows[n](x + first * row_size, depth, panel, whole ? results.at(first, p) : sums,
                   whole ? results.width : kPanel);
      if (!whole) results.take(sums, n, first, p);
    }
  }
}

}  // namespace cai
