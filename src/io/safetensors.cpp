#include "cai/io/safetensors.hpp"

#include <algorithm>
#include <cstring>
#include <thread>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/json.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

std::uint64_t dtype_bytes(const std::string& dtype) {
  static const std::map<std::string, std::uint64_t> known = {
      {"F64", 8},  {"I64", 8}, {"U64", 8}, {"F32", 4}, {"I32", 4}, {"U32", 4}, {"F16", 2},
      {"BF16", 2}, {"I16", 2}, {"U16", 2}, {"I8", 1},  {"U8", 1},  {"BOOL", 1}};
  const auto it = known.find(dtype);
  return it == known.end() ? 0 : it->second;
}

}  // namespace

SafeTensorsFile read_safetensors(const fs::path& path) {
  SafeTensorsFile file;
  file.map = std::make_shared<MappedFile>(path);
  const auto bytes = file.map->bytes();
  std::uint64_t header = 0;
  refuse_lfs_pointer(bytes, path);
  if (bytes.size() < 8) throw InputError(path.string(), 0, "not a safetensors file: shorter than 8 bytes");
  std::memcpy(&header, bytes.data(), 8);
  if (header > 100'000'000 || header > bytes.size() - 8)
    throw InputError(path.string(), 0,
                     "the header's length " + std::to_string(header) + " does not fit the file");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8,
                              static_cast<std::size_t>(header));
  const Json json = parse_json(text, path.string());
  if (!json.is_object()) throw InputError(path.string(), 1, "the header is not a JSON object");
  const auto data = bytes.subspan(8 + static_cast<std::size_t>(header));
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (const auto& [name, entry] : json.items()) {
    const auto bad = [&, &name = name](const std::string& what) {
      return InputError(path.string() + ": tensor " + in_quotes(name) + ": " + what);
    };
    try {
      if (name == "__metadata__") {
        for (const auto& [key, value] : entry.items())
          file.metadata[key] = value.get<std::string>();
        continue;
      }
      SafeTensor tensor{name, entry.at("dtype").get<std::string>(), {}, {}};
      std::uint64_t size = dtype_bytes(tensor.dtype);
      if (size == 0)
        throw bad("dtype " + in_quotes(tensor.dtype) +
                  " is not known; accepted: F32, F16, BF16 and the whole-number types");
      for (const Json& dimension : entry.at("shape")) {
        if (!dimension.is_number_unsigned()) throw bad("a dimension is not a whole number");
        const auto d = dimension.get<std::uint64_t>();
        if (d != 0 && size > (1ull << 42) / d) throw bad("an impossible shape");
        size *= d;
        tensor.shape.push_back(static_cast<std::int64_t>(d));
      }
      const Json& offsets = entry.at("data_offsets");
      const auto from = offsets.at(0).get<std::uint64_t>(), to = offsets.at(1).get<std::uint64_t>();
      if (from > to || to > data.size()) throw bad("its data lie outside the file");
      if (to - from != size)
        throw bad(std::to_string(to - from) + " bytes for a shape that needs " + std::to_string(size));
      tensor.bytes = data.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(size));
      ranges.emplace_back(from, to);
      file.tensors.push_back(std::move(tensor));
    } catch (const Json::exception&) {
      throw bad("expected {dtype, shape, data_offsets}");
    }
  }
  std::sort(ranges.begin(), ranges.end());
  std::uint64_t end = 0;
  for (const auto& [from, to] : ranges) {
    if (from != end)
      throw InputError(path.string(), 0,
                       "tensors overlap or leave a gap at data offset " + std::to_string(from));
    end = to;
  }
  if (end != data.size()) throw InputError(path.string(), 0, "bytes behind the last tensor");
  std::sort(file.tensors.begin(), file.tensors.end(),
            [](const SafeTensor& a, const SafeTensor& b) { return a.name < b.name; });
  return file;
}

std::string write_safetensors(const fs::path& path, const std::vector<SafeTensor>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  std::vector<const SafeTensor*> order;
  for (const SafeTensor& t : tensors)
    order.push_back(&t);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->name < b->name; });
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const SafeTensor* t : order) {
    header[t->name] = {
        {"dtype", t->dtype}, {"shape", t->shape}, {"data_offsets", {offset, offset + t->bytes.size()}}};
    offset += t->bytes.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();

  std::vector<std::string_view> pieces = {{reinterpret_cast<const char*>(&length), 8}, text};
  for (const SafeTensor* t : order)
    pieces.emplace_back(reinterpret_cast<const char*>(t->bytes.data()), t->bytes.size());
  const fs::path temporary = path.string() + ".tmp";
  Sha256 hash;
  {
    const std::jthread hashing([&] {  // takes as long as writing does
      for (const std::string_view piece : pieces)
        hash.update(piece);
    });
    AppendFile file(temporary, 0);
    for (const std::string_view piece : pieces)
      file.append(piece);
    file.sync();
  }
  rename_durably(temporary, path);
  const std::string hex = hash.hex();
  note_sha256(path, hex);
  return hex;
}

}  // namespace cai
