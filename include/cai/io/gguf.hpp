// GGUF v2/v3 container: metadata and a table of tensors over a memory map. No interpretation of tensors here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "cai/io/file.hpp"

namespace cai {

enum class GgufType : std::uint32_t {  // the container's own numbers
  kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 8, kQ4_K = 12, kQ5_K = 13, kQ6_K = 14, kBF16 = 30
};

struct GgufTensor {
  std::string name;
  GgufType type;
  std::vector<std::int64_t> shape;      // row-major order, as torch has it (GGUF's own order reversed)
  std::span<const std::byte> bytes;
};

using GgufArray = std::variant<std::vector<double>, std::vector<std::string>>;  // numbers and booleans as double
using GgufValue = std::variant<double, bool, std::string, GgufArray>;

struct GgufFile {
  std::shared_ptr<MappedFile> map;
  std::map<std::string, GgufValue> metadata;
  std::vector<GgufTensor> tensors;
};

/// Throws InputError naming file and offset when anything is malformed, out of bounds or of an unknown type.
GgufFile read_gguf(const std::filesystem::path& path);

}  // namespace cai
