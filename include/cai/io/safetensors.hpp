// Safetensors container: a JSON header and raw tensors over a memory map, and a durable writer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cai/io/file.hpp"

namespace cai {

struct SafeTensor {
  std::string name;
  std::string dtype;  // "F32", "F16", "BF16", "I64", ...
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

struct SafeTensorsFile {
  std::shared_ptr<MappedFile> map;
  std::map<std::string, std::string> metadata;
  std::vector<SafeTensor> tensors;  // in name order
};

/// Throws InputError naming file and tensor on overlap, gaps, wrong sizes, unknown dtypes, header over 100
/// MB.
SafeTensorsFile read_safetensors(const std::filesystem::path& path);

/// Streams to a temporary file, syncs, renames. Returns the SHA-256 of the file. Byte-identical for equal
/// input.
std::string write_safetensors(const std::filesystem::path& path, const std::vector<SafeTensor>& tensors,
                              const std::map<std::string, std::string>& metadata);

}  // namespace cai
