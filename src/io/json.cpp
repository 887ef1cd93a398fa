#include "cai/io/json.hpp"

#include <algorithm>
#include <cstdio>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace {

long line_of(std::string_view text, std::size_t byte) {
  return 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(byte, text.size())), '\n');
}

constexpr std::size_t kDeepest = 200;  // as the message says

// Where the bracket stands that opens one level too many.
std::size_t place_too_deep(std::string_view text) {
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepest) return i;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return 0;
}

// Builds a value of what the library's parser finds, and looks at keys that repeat: the last would win silently.
template <class J>
class Builder : public nlohmann::json_sax<J> {
 public:
  using typename nlohmann::json_sax<J>::number_integer_t, typename nlohmann::json_sax<J>::number_unsigned_t, typename nlohmann::json_sax<J>::number_float_t, typename nlohmann::json_sax<J>::string_t,
      typename nlohmann::json_sax<J>::binary_t;

  J root;
  std::string problem;    // why building stopped; "" when the text is no JSON
  std::size_t error_byte = 0;  // from 1, where parsing stopped
  bool is_too_deep = false;

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t& value) override { return put(std::move(value)); }
  bool start_object(std::size_t) override { return open(J::object()); }
  bool start_array(std::size_t) override { return open(J::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const auto [place, is_new] = open_.back()->emplace(name, nullptr);
    if (!is_new) problem = "the field " + in_quotes(name) + " stands twice in one object";
    next_ = &*place;
    return is_new;
  }

  bool parse_error(std::size_t byte, const std::string&, const nlohmann::json::exception& e) override {
    error_byte = byte;
    if (dynamic_cast<const nlohmann::json::out_of_range*>(&e)) problem = "a number is out of range";
    return false;
  }

 private:
  template <class Value>
  bool put(Value&& value) {
    place() = std::forward<Value>(value);
    return true;
  }

  bool open(J value) {
    is_too_deep = open_.size() == kDeepest;  // the library's own dump and destructor recurse
    if (is_too_deep) return false;
    J& here = place();
    here = std::move(value);
    open_.push_back(&here);
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  // Where the value that comes now belongs.
  J& place() {
    if (open_.empty()) return root;
    if (open_.back()->is_object()) return *next_;
    open_.back()->push_back(nullptr);
    return open_.back()->back();
  }

  std::vector<J*> open_;  // objects and arrays, the innermost last; one that is open is the last of those around it, so it does not move
  J* next_ = nullptr;     // of the innermost object's last key
};

template <class J>
J parse(std::string_view text, const std::string& file, long line) {
  if (!is_utf8(text)) throw InputError(file, line, "not valid UTF-8");
  Builder<J> builder;
  if (J::sax_parse(text.begin(), text.end(), &builder)) return std::move(builder.root);
  if (builder.is_too_deep) throw InputError(file, line + line_of(text, place_too_deep(text)) - 1, "nested deeper than 200 levels");
  if (!builder.problem.empty()) throw InputError(file, line, builder.problem);
  const std::size_t byte = builder.error_byte;
  throw InputError(file, line + line_of(text, byte > 0 ? byte - 1 : 0) - 1, "not valid JSON at byte " + std::to_string(byte));
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
  for (std::size_t i = 0; (i = plain_ascii(text, i)) < text.size();) {
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
