// A model split into several GGUF files, as llama-gguf-split makes them.
#include <algorithm>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/gguf.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

// NAME-00002-of-00003.gguf: what stands before the numbers, and the numbers. `count` is 0 for any other name.
struct PartName {
  std::string stem;
  long number = 0, count = 0;
};

constexpr long kMostParts = 99999;

PartName part_name(const fs::path& path) {
  static const std::string shape = "-00000-of-00000.gguf";
  const std::string name = path.filename().string();
  if (name.size() <= shape.size()) return {};
  const std::string tail = name.substr(name.size() - shape.size());
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (shape[i] == '0' ? !(tail[i] >= '0' && tail[i] <= '9') : tail[i] != shape[i]) return {};
  return {name.substr(0, name.size() - shape.size()), std::stol(tail.substr(1, 5)),
          std::stol(tail.substr(10, 5))};
}

fs::path part_path(const fs::path& folder, const std::string& stem, long number, long count) {
  const auto five = [](long n) {
    const std::string digits = std::to_string(n);
    return std::string(5 - std::min<std::size_t>(5, digits.size()), '0') + digits;
  };
  return folder / (stem + "-" + five(number) + "-of-" + five(count) + ".gguf");
}

// split.no (from 0) or split.count; 0 where the file has none.
long split_number(const GgufFile& file, const char* key) {
  const double* number = file.find<double>(std::string("split.") + key);
  return number && *number >= 0 ? static_cast<long>(std::min(*number, 1e9)) : 0;
}

void check_first_part(const GgufFile& file, const fs::path& path) {
  const long count = split_number(file, "count"), number = split_number(file, "no") + 1;
  const std::string what =
      "part " + std::to_string(number) + " of " + std::to_string(count) + " of a split model";
  const PartName name = part_name(path);
  if (count > kMostParts)
    throw InputError(path.string(), 0,
                     "split.count is " + std::to_string(count) + "; at most 99999 is accepted");
  if (name.count != count || name.number != number)
    throw InputError(path.string(), 0,
                     what + " must be named NAME" + part_path("", "", number, count).string() +
                         "; name all parts so, or join them with llama-gguf-split --merge");
  if (number != 1)
    throw InputError(path.string(), 0,
                     "is " + what + "; give the first part, " + part_path("", name.stem, 1, count).string());
}

void add_part(GgufFile& file, std::set<std::string>& names, const fs::path& path, long number) {
  const long count = split_number(file, "count");
  const std::string what = "part " + std::to_string(number) + " of " + std::to_string(count);
  if (!fs::exists(path)) throw InputError(path.string(), 0, "is missing: " + what + " of this model");
  GgufFile part = read_gguf_part(path);
  if (split_number(part, "count") != count || split_number(part, "no") + 1 != number)
    throw InputError(path.string(), 0,
                     "is not " + what + ", as its name says: it is part " +
                         std::to_string(split_number(part, "no") + 1) + " of " +
                         std::to_string(split_number(part, "count")));
  file.maps.push_back(part.maps.front());
  for (GgufTensor& t : part.tensors) {
    if (!names.insert(t.name).second)
      throw InputError(
          path.string(), 0,
          "is a part of another model: tensor " + in_quotes(t.name) + " is in an earlier part too");
    file.tensors.push_back(std::move(t));
  }
}

}  // namespace

GgufFile read_gguf(const fs::path& path) {
  GgufFile file = read_gguf_part(path);
  const long count = split_number(file, "count");
  if (count <= 1) return file;
  check_first_part(file, path);
  std::set<std::string> names;
  for (const GgufTensor& t : file.tensors)
    names.insert(t.name);
  const std::vector<fs::path> parts = gguf_parts(path);
  for (long i = 2; i <= count; ++i)
    add_part(file, names, parts[static_cast<std::size_t>(i - 1)], i);
  return file;
}

std::vector<fs::path> gguf_parts(const fs::path& path) {
  const PartName name = part_name(path);
  if (name.number != 1 || name.count <= 1) return {path};
  std::vector<fs::path> parts;
  for (long i = 1; i <= name.count; ++i)
    parts.push_back(part_path(path.parent_path(), name.stem, i, name.count));
  return parts;
}

fs::path gguf_in_folder(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".gguf" && part_name(entry.path()).number <= 1)
      found.push_back(entry.path());
  if (found.size() > 1) throw InputError(folder.string(), 0, "several .gguf files here; name one of them");
  if (!found.empty()) return found.front();
  for (const auto& entry : fs::directory_iterator(folder))  // a split model without its first part
    if (const PartName name = part_name(entry.path()); name.count > 1)
      return part_path(folder, name.stem, 1, name.count);
  return {};
}

}  // namespace cai
