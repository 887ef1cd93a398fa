// Tile registers (AMX): one instruction adds up 32 products of bfloat16 for each of 16 rows by 16 columns.
// Here are its instructions; matrix products are in engine/products.cpp, attention in
// engine/attention_tiles.cpp and model/attention_tiles.cpp. (The compiler's own intrinsics do not say that
// they read memory: GCC 12 may drop what was stored for them.)
#pragma once

#include <cstdint>

namespace cai {

constexpr std::int64_t kTileRows = 16;                      // at most
constexpr std::int64_t kTilePairs = 16;                     // along what is summed over
constexpr std::int64_t kTileSize = kTileRows * kTilePairs;  // pairs

/// Whether this CPU has AMX for bfloat16 and the system lets the process use it.
bool has_amx();

/// This thread's tile registers while it lives: 0 to 3 are sums and 4 and 5 the left side, of `rows` rows; 6
/// and 7 are the right side. Rows have 64 bytes.
class TileRegisters {
 public:
  explicit TileRegisters(std::int64_t rows) {
    struct alignas(64) {
      std::uint8_t palette, start_row, reserved[14];
      std::uint16_t row_bytes[16];
      std::uint8_t rows[16];
    } shapes = {.palette = 1};
    for (int t = 0; t < 8; ++t)
      shapes.row_bytes[t] = 64, shapes.rows[t] = static_cast<std::uint8_t>(t < 6 ? rows : kTilePairs);
    asm volatile("ldtilecfg %0" ::"m"(shapes));
  }
  ~TileRegisters() { asm volatile("tilerelease"); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;

  template <int... Tile>
  static void clear() {
    (..., ([] { asm volatile("tilezero %%tmm%c0" ::"i"(Tile)); }()));
  }

  /// Rows lie `stride` words of four bytes apart.
  template <int Tile>
  static void load(const void* from, std::int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(4 * stride), "i"(Tile) : "memory");
  }
  template <int Tile>
  static void store(void* to, std::int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(4 * stride), "i"(Tile) : "memory");
  }

  /// Adds Left times Right: of each row and column 16 products of the pairs' first halves and 16 of their
  /// second halves, summed before they are added.
  template <int Sums, int Left, int Right>
  static void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Left), "i"(Right));
  }
};

}  // namespace cai
