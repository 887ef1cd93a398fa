#include "cai/io/json.hpp"

#include <algorithm>
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
      problem = "the field \"" + value.template get<std::string>() + "\" stands twice in one object";
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
  }
}

}  // namespace

Json parse_json(std::string_view text, const std::string& file, long line) { return parse<Json>(text, file, line); }

SortedJson parse_sorted_json(std::string_view text, const std::string& file, long line) { return parse<SortedJson>(text, file, line); }

std::string to_line(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

namespace {

std::string indented(const Json& value) { return value.dump(2, ' ', false, Json::error_handler_t::replace); }

}  // namespace

void write_sealed(const std::filesystem::path& path, Json value) {
  value.erase("seal");
  value["seal"] = sha256(indented(value));
  write_file(path, indented(value) + "\n");
}

Json read_sealed(const std::filesystem::path& path) {
  Json value = parse_json(read_file(path), path.string());
  const std::string seal = value.is_object() && value.contains("seal") && value["seal"].is_string() ? value["seal"].get<std::string>() : "";
  if (value.is_object()) value.erase("seal");
  if (seal != sha256(indented(value))) throw InputError(path.string(), 0, "is damaged: its seal does not fit what stands in it");
  return value;
}

}  // namespace cai
