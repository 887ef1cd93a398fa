#include "cai/io/gguf.hpp"

#include <cstring>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

// Reads little-endian values in order; every read is checked against the end of the file.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string file) : bytes_(bytes), file_(std::move(file)) {}

  [[noreturn]] void fail(const std::string& what) const { throw InputError(file_ + ": offset " + std::to_string(at_) + ": " + what); }

  std::span<const std::byte> take(std::uint64_t n) {
    if (n > bytes_.size() - at_) fail("the file ends early");
    const auto part = bytes_.subspan(at_, static_cast<std::size_t>(n));
    at_ += static_cast<std::size_t>(n);
    return part;
  }

  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::string text() {
    const auto bytes = take(number<std::uint64_t>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::size_t at() const { return at_; }
  std::size_t left() const { return bytes_.size() - at_; }

 private:
  std::span<const std::byte> bytes_;
  std::string file_;
  std::size_t at_ = 0;
};

enum : std::uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kFloat, kBool, kString, kArray, kU64, kI64, kDouble };

double number(Cursor& in, std::uint32_t type) {
  switch (type) {
    case kU8: return in.number<std::uint8_t>();
    case kI8: return in.number<std::int8_t>();
    case kU16: return in.number<std::uint16_t>();
    case kI16: return in.number<std::int16_t>();
    case kU32: return in.number<std::uint32_t>();
    case kI32: return in.number<std::int32_t>();
    case kFloat: return in.number<float>();
    case kBool: return in.number<std::uint8_t>() != 0;
    case kU64: return static_cast<double>(in.number<std::uint64_t>());
    case kI64: return static_cast<double>(in.number<std::int64_t>());
    case kDouble: return in.number<double>();
    default: in.fail("value type " + std::to_string(type) + " is not known");
  }
}

GgufValue value(Cursor& in) {
  const auto type = in.number<std::uint32_t>();
  if (type == kString) return in.text();
  if (type == kBool) return number(in, type) != 0;
  if (type != kArray) return number(in, type);
  const auto of = in.number<std::uint32_t>();
  const auto count = in.number<std::uint64_t>();
  if (of == kArray) in.fail("an array of arrays");
  if (count > in.left()) in.fail("an array of " + std::to_string(count) + " entries in a shorter file");
  if (of == kString) {
    std::vector<std::string> all;
    for (std::uint64_t i = 0; i < count; ++i) all.push_back(in.text());
    return GgufArray(std::move(all));
  }
  std::vector<double> all;
  for (std::uint64_t i = 0; i < count; ++i) all.push_back(number(in, of));
  return GgufArray(std::move(all));
}

struct Block { std::uint64_t values, bytes; };

Block block_of(Cursor& in, GgufType type) {
  switch (type) {
    case GgufType::kF32: return {1, 4};
    case GgufType::kF16: return {1, 2};
    case GgufType::kBF16: return {1, 2};
    case GgufType::kQ4_0: return {32, 18};
    case GgufType::kQ4_1: return {32, 20};
    case GgufType::kQ8_0: return {32, 34};
    case GgufType::kQ4_K: return {256, 144};
    case GgufType::kQ5_K: return {256, 176};
    case GgufType::kQ6_K: return {256, 210};
  }
  in.fail("tensor type " + std::to_string(static_cast<std::uint32_t>(type)) + "; accepted: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K, Q6_K");
}

}  // namespace

GgufFile read_gguf(const std::filesystem::path& path) {
  GgufFile file;
  file.map = std::make_shared<MappedFile>(path);
  Cursor in(file.map->bytes(), path.string());
  const auto magic = in.take(4);
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) in.fail("not a GGUF file");
  const auto version = in.number<std::uint32_t>();
  if (version != 2 && version != 3) in.fail("GGUF version " + std::to_string(version) + "; accepted: 2, 3");
  const auto tensors = in.number<std::uint64_t>(), entries = in.number<std::uint64_t>();
  if (tensors > in.left() || entries > in.left()) in.fail("more tensors or metadata than the file can hold");
  for (std::uint64_t i = 0; i < entries; ++i) {
    std::string key = in.text();
    if (!file.metadata.emplace(key, value(in)).second) in.fail("the key " + in_quotes(key) + " stands twice");
  }

  struct Place { std::uint64_t offset, bytes; };
  std::vector<Place> places;
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < tensors; ++i) {
    GgufTensor tensor;
    tensor.name = in.text();
    if (!names.insert(tensor.name).second) in.fail("the tensor " + in_quotes(tensor.name) + " stands twice");
    const auto dimensions = in.number<std::uint32_t>();
    if (dimensions == 0 || dimensions > 4) in.fail("tensor " + in_quotes(tensor.name) + " has " + std::to_string(dimensions) + " dimensions");
    std::uint64_t count = 1;
    for (std::uint32_t d = 0; d < dimensions; ++d) {
      const auto size = in.number<std::uint64_t>();
      if (size == 0 || size > (1ull << 40) / count) in.fail("tensor " + in_quotes(tensor.name) + " has an impossible shape");
      count *= size;
      tensor.shape.insert(tensor.shape.begin(), static_cast<std::int64_t>(size));
    }
    tensor.type = static_cast<GgufType>(in.number<std::uint32_t>());
    const Block block = block_of(in, tensor.type);
    if (static_cast<std::uint64_t>(tensor.shape.back()) % block.values != 0) in.fail("tensor " + in_quotes(tensor.name) + ": a row is not whole blocks");
    places.push_back({in.number<std::uint64_t>(), count / block.values * block.bytes});
    file.tensors.push_back(std::move(tensor));
  }
  std::uint64_t alignment = 32;
  if (const auto it = file.metadata.find("general.alignment"); it != file.metadata.end()) {
    const double* wanted = std::get_if<double>(&it->second);
    if (!wanted || !(*wanted >= 1 && *wanted <= 65536)) in.fail("general.alignment is not a number from 1 to 65536");
    alignment = static_cast<std::uint64_t>(*wanted);
  }
  const std::uint64_t begin = (in.at() + alignment - 1) / alignment * alignment, size = file.map->bytes().size();
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (begin > size || places[i].offset > size - begin || places[i].bytes > size - begin - places[i].offset)
      in.fail("tensor " + in_quotes(file.tensors[i].name) + " lies past the end of the file");
    file.tensors[i].bytes = file.map->bytes().subspan(static_cast<std::size_t>(begin + places[i].offset), static_cast<std::size_t>(places[i].bytes));
  }
  return file;
}

}  // namespace cai
