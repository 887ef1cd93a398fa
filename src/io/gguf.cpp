#include "cai/io/gguf.hpp"

#include <cstring>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

// Reads little-endian values in order; every read is checked against the end of the file.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string file) : bytes_(bytes), file_(std::move(file)) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(file_ + ": offset " + std::to_string(at_) + ": " + what);
  }

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

enum : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kFloat,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kDouble
};

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
    for (std::uint64_t i = 0; i < count; ++i)
      all.push_back(in.text());
    return GgufArray(std::move(all));
  }
  std::vector<double> all;
  for (std::uint64_t i = 0; i < count; ++i)
    all.push_back(number(in, of));
  return GgufArray(std::move(all));
}

constexpr GgufBlock kBlocks[] = {
    {GgufType::kF32, "F32", 1, 4},          {GgufType::kF16, "F16", 1, 2},
    {GgufType::kBF16, "BF16", 1, 2},        {GgufType::kQ8_0, "Q8_0", 32, 34},
    {GgufType::kQ4_0, "Q4_0", 32, 18},      {GgufType::kQ4_1, "Q4_1", 32, 20},
    {GgufType::kQ5_0, "Q5_0", 32, 22},      {GgufType::kQ5_1, "Q5_1", 32, 24},
    {GgufType::kQ2_K, "Q2_K", 256, 84},     {GgufType::kQ3_K, "Q3_K", 256, 110},
    {GgufType::kQ4_K, "Q4_K", 256, 144},    {GgufType::kQ5_K, "Q5_K", 256, 176},
    {GgufType::kQ6_K, "Q6_K", 256, 210},    {GgufType::kIQ4_NL, "IQ4_NL", 32, 18},
    {GgufType::kIQ4_XS, "IQ4_XS", 256, 136}};

// Types that the format has and that are not read, so that a message can call them by their names.
const std::map<std::uint32_t, const char*> kOtherTypes = {
    {9, "Q8_1"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
    {21, "IQ3_S"}, {22, "IQ2_S"}, {24, "I8"},      {25, "I16"},    {26, "I32"},     {27, "I64"},
    {28, "F64"},   {29, "IQ1_M"}, {34, "TQ1_0"},   {35, "TQ2_0"},  {39, "MXFP4"},   {40, "NVFP4"}};

const GgufBlock& block_of(Cursor& in, std::uint32_t type, const std::string& tensor) {
  for (const GgufBlock& block : kBlocks)
    if (static_cast<std::uint32_t>(block.type) == type) return block;
  const auto known = kOtherTypes.find(type);
  std::string accepted;
  for (const GgufBlock& block : kBlocks)
    accepted += (accepted.empty() ? "" : ", ") + std::string(block.name);
  in.fail("tensor " + in_quotes(tensor) + " is of type " +
          (known == kOtherTypes.end() ? "number " + std::to_string(type) : std::string(known->second)) +
          "; accepted: " + accepted);
}

// A tensor's entry in the table. Where its data lie, counted from where the data begin.
struct Entry {
  GgufTensor tensor;
  std::uint64_t offset = 0, bytes = 0;
};

Entry entry(Cursor& in) {
  Entry e;
  GgufTensor& tensor = e.tensor;
  tensor.name = in.text();
  const std::string name = "tensor " + in_quotes(tensor.name);
  const auto dimensions = in.number<std::uint32_t>();
  if (dimensions == 0 || dimensions > 4) in.fail(name + " has " + std::to_string(dimensions) + " dimensions");
  std::uint64_t count = 1;
  for (std::uint32_t d = 0; d < dimensions; ++d) {
    const auto size = in.number<std::uint64_t>();
    if (size == 0 || size > (1ull << 40) / count) in.fail(name + " has an impossible shape");
    count *= size;
    tensor.shape.insert(tensor.shape.begin(), static_cast<std::int64_t>(size));
  }
  const GgufBlock& block = block_of(in, in.number<std::uint32_t>(), tensor.name);
  tensor.type = block.type;
  if (static_cast<std::uint64_t>(tensor.shape.back()) % block.values != 0)
    in.fail(name + ": a row is not whole blocks");
  e.offset = in.number<std::uint64_t>();
  e.bytes = count / block.values * block.bytes;
  return e;
}

std::uint64_t alignment_of(const GgufFile& file, Cursor& in) {
  if (!file.metadata.contains("general.alignment")) return 32;
  const double* wanted = file.find<double>("general.alignment");
  if (!wanted || !(*wanted >= 1 && *wanted <= 65536))
    in.fail("general.alignment is not a number from 1 to 65536");
  return static_cast<std::uint64_t>(*wanted);
}

}  // namespace

std::span<const GgufBlock> gguf_blocks() {
  return kBlocks;
}

GgufFile read_gguf_part(const fs::path& path) {
  GgufFile file;
  file.maps.push_back(std::make_shared<MappedFile>(path));
  const auto data = file.maps.front()->bytes();
  refuse_lfs_pointer(data, path);
  Cursor in(data, path.string());
  const auto magic = in.take(4);
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) in.fail("not a GGUF file");
  const auto version = in.number<std::uint32_t>();
  if (version != 2 && version != 3) in.fail("GGUF version " + std::to_string(version) + "; accepted: 2, 3");
  const auto tensors = in.number<std::uint64_t>(), entries = in.number<std::uint64_t>();
  if (tensors > in.left() || entries > in.left()) in.fail("more tensors or metadata than the file can hold");
  for (std::uint64_t i = 0; i < entries; ++i) {
    std::string key = in.text();
    if (!file.metadata.emplace(key, value(in)).second) in.fail("duplicate key " + in_quotes(key));
  }
  std::vector<Entry> table;
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < tensors; ++i) {
    table.push_back(entry(in));
    const std::string& name = table.back().tensor.name;
    if (!names.insert(name).second) in.fail("duplicate tensor " + in_quotes(name));
  }
  const std::uint64_t alignment = alignment_of(file, in), size = data.size();
  const std::uint64_t begin = (in.at() + alignment - 1) / alignment * alignment;
  for (Entry& e : table) {
    if (begin > size || e.offset > size - begin || e.bytes > size - begin - e.offset)
      in.fail("tensor " + in_quotes(e.tensor.name) + " lies past the end of the file");
    e.tensor.bytes =
        data.subspan(static_cast<std::size_t>(begin + e.offset), static_cast<std::size_t>(e.bytes));
    file.tensors.push_back(std::move(e.tensor));
  }
  return file;
}

}  // namespace cai
