// JSON as nlohmann's ordered type (fields keep their order, unknown fields survive), parsed with limits.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace cai {

using Json = nlohmann::ordered_json;

/// JSON whose objects are sorted by key: for objects with many keys (a vocabulary), which Json would search
/// one by one.
using SortedJson = nlohmann::json;

/// Parses one JSON value. Throws InputError("file:line: ...") on syntax errors, a nesting deeper than 200,
/// duplicate keys in an object, or invalid UTF-8. `line` is added to the line found by the parser, minus one.
Json parse_json(std::string_view text, const std::string& file, long line = 1);
SortedJson parse_sorted_json(std::string_view text, const std::string& file, long line = 1);

/// Compact, one line, UTF-8 kept, invalid UTF-8 replaced by U+FFFD. Hidden characters (base/text.hpp) are
/// written as JSON escapes: the value is the same, and a terminal that shows the file obeys nothing in it.
std::string to_line(const Json& value);

/// The same over several lines, indented by two, with a line break at the end.
std::string to_lines(const Json& value);

/// Writes an object durably with one more field, "seal": the SHA-256 of the rest, so that damage to any value
/// is noticed.
void write_sealed(const std::filesystem::path& path, Json value);

/// Reads such a file, the seal taken off. Throws InputError naming the file when the seal is missing or does
/// not fit.
Json read_sealed(const std::filesystem::path& path);

}  // namespace cai
