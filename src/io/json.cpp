#include "cai/io/json.hpp"

#include <algorithm>
#include <cstdio>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace {

long line_of(std::string_view text, std::size_t byte) {
  return 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(byte, text.size())), '\n');
}

template <class J>
J parse(std::string_view text, const std::string& file, long line) {
  if (!is_utf8(text)) throw InputError(file, line, "not valid UTF-8");
  // Looked at while parsing: the depth (the library's own dump recurses) and keys that repeat (the last would win silently).
  std::vector<std::set<std::string>> keys;
  std::string problem;
  const auto watch = [&](int depth, typename J::parse_event_t event, J& value) {
    if (depth > 200 && problem.empty()) problem = "nested deeper than 200 levels";
    if (!problem.empty()) return false;
    if (event == J::parse_event_t::object_start) keys.emplace_back();
    if (event == J::parse_event_t::object_end) keys.pop_back();
    if (event == J::parse_event_t::key && !keys.back().insert(value.template get<std::string>()).second)
      problem = "the field " + in_quotes(value.template get<std::string>()) + " stands twice in one object";
    return true;
  };
  // A bracket count first: the parser itself would recurse on hostile depth in its callback's bookkeeping.
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > 200) throw InputError(file, line + line_of(text, i) - 1, "nested deeper than 200 levels");
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  try {
    J value = J::parse(text.begin(), text.end(), watch);
    if (!problem.empty()) throw InputError(file, line, problem);
    return value;
  } catch (const nlohmann::json::parse_error& e) {
    throw InputError(file, line + line_of(text, e.byte > 0 ? e.byte - 1 : 0) - 1, "not valid JSON at byte " + std::to_string(e.byte));
  } catch (const nlohmann::json::out_of_range&) {
    throw InputError(file, line, "a number is out of range");
  }
}

// The library writes everything but ", \\ and characters below 0x20 as it is. Hidden ones stand in strings only, so an escape means the same.
std::string escape_hidden(std::string text) {
  const auto code_at = [&](std::size_t i) {
    const auto byte = [&](std::size_t k) { return static_cast<char32_t>(static_cast<unsigned char>(text[k])); };
    const char32_t b = byte(i);
    if (b < 0xe0) return (b & 0x1f) << 6 | (byte(i + 1) & 0x3f);
    if (b < 0xf0) return (b & 0xf) << 12 | (byte(i + 1) & 0x3f) << 6 | (byte(i + 2) & 0x3f);
    return (b & 7) << 18 | (byte(i + 1) & 0x3f) << 12 | (byte(i + 2) & 0x3f) << 6 | (byte(i + 3) & 0x3f);
  };
  const auto unit = [](std::string& out, char32_t u) {
    char digits[8];
    std::snprintf(digits, sizeof digits, "\\u%04x", static_cast<unsigned>(u));
    out += digits;
  };
  std::string out;
  std::size_t done = 0;
  for (std::size_t i = 0; i < text.size();) {
    const unsigned char b = static_cast<unsigned char>(text[i]);
    const std::size_t n = b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
    const char32_t c = n == 1 ? b : code_at(i);
    if (is_hidden(c)) {
      out.append(text, done, i - done);
      if (c < 0x10000) unit(out, c);
      else unit(out, 0xd800 + ((c - 0x10000) >> 10)), unit(out, 0xdc00 + ((c - 0x10000) & 0x3ff));
      done = i + n;
    }
    i += n;
  }
  return done == 0 ? text : out.append(text, done);
}

}  // namespace

Json parse_json(std::string_view text, const std::string& file, long line) { return parse<Json>(text, file, line); }

SortedJson parse_sorted_json(std::string_view text, const std::string& file, long line) { return parse<SortedJson>(text, file, line); }

std::string to_line(const Json& value) { return escape_hidden(value.dump(-1, ' ', false, Json::error_handler_t::replace)); }

std::string to_lines(const Json& value) { return escape_hidden(value.dump(2, ' ', false, Json::error_handler_t::replace)) + "\n"; }

void write_sealed(const std::filesystem::path& path, Json value) {
  value.erase("seal");
  value["seal"] = sha256(to_lines(value));
  write_file(path, to_lines(value));
}

Json read_sealed(const std::filesystem::path& path) {
  Json value = parse_json(read_file(path), path.string());
  const std::string seal = value.is_object() && value.contains("seal") && value["seal"].is_string() ? value["seal"].get<std::string>() : "";
  if (value.is_object()) value.erase("seal");
  if (seal != sha256(to_lines(value))) throw InputError(path.string(), 0, "is damaged: its seal does not fit what stands in it");
  return value;
}

}  // namespace cai
