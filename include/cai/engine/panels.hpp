// What products of every precision share: weights in panels of kPanel columns, and tiles of a few rows times one panel.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace cai {

constexpr std::int64_t kPanel = 32;

template <class X, class Weight>
struct Tiles {
  int rows;                                                                  // of the largest tile
  void (*by_rows[13])(const X*, std::int64_t, const Weight*, float*, std::int64_t);  // [r]: a tile of exactly r rows, `stride` apart in y
};

// y [rows, out] = x [rows, depth] times panels; `panel_size` and `row_size`: from one panel or row to the next.
template <class X, class Weight>
void multiply_panels(const Tiles<X, Weight>& t, const Weight* panels, std::int64_t panel_size, const X* x, std::int64_t row_size, std::int64_t rows, std::int64_t depth, std::int64_t out, float* y) {
  const std::int64_t count = (out + kPanel - 1) / kPanel;
#pragma omp parallel for schedule(static)
  for (std::int64_t p = 0; p < count; ++p) {
    const Weight* panel = panels + p * panel_size;
    const std::int64_t columns = std::min(kPanel, out - p * kPanel);
    alignas(64) float tile[12 * kPanel];
    for (std::int64_t first = 0; first < rows; first += t.rows) {
      const int n = static_cast<int>(std::min<std::int64_t>(t.rows, rows - first));
      if (columns == kPanel) {
        t.by_rows[n](x + first * row_size, depth, panel, y + first * out + p * kPanel, out);
        continue;
      }
      t.by_rows[n](x + first * row_size, depth, panel, tile, kPanel);
      for (int r = 0; r < n; ++r)
        std::memcpy(y + (first + r) * out + p * kPanel, tile + r * kPanel, static_cast<std::size_t>(columns) * sizeof(float));
    }
  }
}

}  // namespace cai
