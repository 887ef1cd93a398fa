// Each GGUF type against the gguf package (tests/golden/blocks.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/gguf.hpp"
#include "cai/io/json.hpp"
#include "cai/model/dequantise.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;
const fs::path kGolden = fs::path(CAI_SOURCE_DIR) / "tests/model/golden";

std::vector<float> values_of(GgufType type, std::span<const std::byte> bytes, std::size_t count) {
  std::vector<float> values(count);
  dequantise(type, bytes, static_cast<std::int64_t>(count), values.data());
  return values;
}

TEST(Dequantise, IsBitEqualToTheGgufPackage) {
  const GgufFile file = read_gguf(kGolden / "blocks.gguf");
  const std::string golden = read_file(kGolden / "blocks.f32");
  ASSERT_EQ(file.tensors.size(), gguf_blocks().size());
  ASSERT_EQ(golden.size(), file.tensors.size() * 512 * sizeof(float));
  for (std::size_t i = 0; i < file.tensors.size(); ++i) {
    std::vector<float> expected(512);
    std::memcpy(expected.data(), golden.data() + i * 512 * sizeof(float), 512 * sizeof(float));
    EXPECT_EQ(values_of(file.tensors[i].type, file.tensors[i].bytes, 512), expected) << file.tensors[i].name;
  }
}

// SplitMix64 (Steele et al. 2014) from state 1, eight bytes a step, little-endian.
std::vector<std::byte> drawn_bytes(std::size_t count) {
  std::vector<std::byte> bytes((count + 7) / 8 * 8);
  std::uint64_t state = 1;
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    std::uint64_t z = state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    z ^= z >> 31;
    std::memcpy(&bytes[at], &z, 8);
  }
  bytes.resize(count);
  return bytes;
}

// Any bytes are a block, so random ones reach every scale, minimum and high bit.
TEST(Dequantise, IsBitEqualToTheGgufPackageOnRandomBytes) {
  const Json golden = parse_json(read_file(kGolden / "blocks.json"), "blocks.json");
  const auto count = golden.at("blocks").get<std::size_t>();
  for (const GgufBlock& block : gguf_blocks()) {
    if (block.type == GgufType::kF32) continue;
    std::string name = block.name;
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    const Json& expected = golden.at("types").at(name);
    std::vector<std::byte> bytes = drawn_bytes(count * block.bytes);
    const auto infinite = std::byte{static_cast<unsigned char>(block.type == GgufType::kBF16 ? 0x7f : 0x7c)};
    for (std::size_t b = 0; b < count; ++b)
      for (const Json& half : expected.at("halves")) {
        std::byte& top = bytes[b * block.bytes + half.get<std::size_t>() + 1];
        if ((top & infinite) == infinite) top &= std::byte{0xbf};  // no finite number
      }
    const std::vector<float> values = values_of(block.type, bytes, count * block.values);
    EXPECT_EQ(sha256({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)}),
              expected.at("sha256"))
        << block.name;
  }
}

}  // namespace
}  // namespace cai
