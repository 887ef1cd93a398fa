// GGUF v2/v3 container: metadata and a table of tensors over a memory map. No interpretation of tensors here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cai/io/file.hpp"

namespace cai {

enum class GgufType : std::uint32_t {  // the container's own numbers
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kBF16 = 30
};

/// A row of a tensor is whole blocks of `values` values in `bytes` bytes.
struct GgufBlock {
  GgufType type;
  const char* name;
  std::uint64_t values, bytes;
};

/// Every type that is read.
std::span<const GgufBlock> gguf_blocks();

struct GgufTensor {
  std::string name;
  GgufType type;
  std::vector<std::int64_t> shape;  // row-major order, as torch has it (GGUF's own order reversed)
  std::span<const std::byte> bytes;
};

using GgufArray =
    std::variant<std::vector<double>, std::vector<std::string>>;  // numbers and booleans as double
using GgufValue = std::variant<double, bool, std::string, GgufArray>;

struct GgufFile {
  std::vector<std::shared_ptr<MappedFile>> maps;  // one for each part
  std::map<std::string, GgufValue> metadata;      // of the first part
  std::vector<GgufTensor> tensors;                // of all parts

  /// The value of this type under `key`; nullptr where there is none, or one of another type.
  template <class T>
  const T* find(std::string_view key) const {
    const auto it = metadata.find(std::string(key));
    return it == metadata.end() ? nullptr : std::get_if<T>(&it->second);
  }
};

/// A split model (NAME-00001-of-0000N.gguf) is read with all of its parts when the first one is named. Throws
/// InputError naming file and offset when anything is malformed, out of bounds or of an unknown type, or when
/// a part is missing or belongs to another model.
GgufFile read_gguf(const std::filesystem::path& path);

/// One file as it stands, whatever part of a model it holds.
GgufFile read_gguf_part(const std::filesystem::path& path);

/// The files that read_gguf reads, by their names alone: `path`, and the other parts of a split model.
std::vector<std::filesystem::path> gguf_parts(const std::filesystem::path& path);

/// The .gguf file in a folder, or the first part of the split model in it; "" where there is none.
/// Throws InputError when there are several.
std::filesystem::path gguf_in_folder(const std::filesystem::path& folder);

}  // namespace cai
