#include "cai/io/json.hpp"

#include <simdjson.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <unordered_set>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace {

long line_of(std::string_view text, std::size_t byte) {
  return 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(byte, text.size())),
                        '\n');
}

constexpr std::size_t kDeepest = 200;  // as the message says

// Fields of one object of Json, which looks each name up from the first on. SortedJson has no limit: it is a
// tree.
constexpr std::size_t kMostFields = 10'000;

// Half of a surrogate pair, "\\ud83d" at its first place before `end`; "" when there is none: a character
// that was cut in two, as Python's json.dumps writes it.
std::string half_surrogate(std::string_view text, std::size_t end) {
  const auto unit = [&](std::size_t at) -> unsigned {
    const bool is_escape = at + 6 <= text.size() && text[at] == '\\' && text[at + 1] == 'u';
    const std::string digits = is_escape ? std::string(text.substr(at + 2, 4)) : "";
    return digits.find_first_not_of("0123456789abcdefABCDEF") == digits.npos && is_escape
               ? std::stoul(digits, nullptr, 16)
               : 0u;
  };
  const auto is_within = [](unsigned u, unsigned low, unsigned high) { return u >= low && u <= high; };
  for (std::size_t i = 0; (i = text.find('\\', i)) < std::min(end, text.size());) {
    const unsigned u = unit(i);
    const bool is_first = is_within(u, 0xd800, 0xdbff),
               is_pair = is_first && is_within(unit(i + 6), 0xdc00, 0xdfff);
    if (is_pair)
      i += 12;
    else if (is_first || is_within(u, 0xdc00, 0xdfff))
      return std::string(text.substr(i, 6));
    else
      i += 2;
  }
  return "";
}

// Where the bracket stands that opens one level too many.
std::size_t place_too_deep(std::string_view text) {
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
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

std::string too_many_fields() {
  return "an object has more than " + std::to_string(kMostFields) + " fields";
}

// Adds a field whose name is known to be new, without a look at the others.
Json& new_field(Json::object_t& object, std::string name) {
  return object.emplace_back(std::move(name), nullptr).second;
}
SortedJson& new_field(SortedJson::object_t& object, std::string name) {
  return object[std::move(name)];
}

// Builds a value of what the library's parser finds, and looks at keys that repeat: the last would win
// silently.
template <class J>
class Builder : public nlohmann::json_sax<J> {
 public:
  using typename nlohmann::json_sax<J>::number_integer_t, typename nlohmann::json_sax<J>::number_unsigned_t,
      typename nlohmann::json_sax<J>::number_float_t, typename nlohmann::json_sax<J>::string_t,
      typename nlohmann::json_sax<J>::binary_t;

  J root;
  std::string problem;         // why building stopped; "" when the text is no JSON
  std::size_t error_byte = 0;  // from 1, where parsing stopped
  bool is_too_deep = false;

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t& value) override { return put(std::move(value)); }
  bool start_object(std::size_t) override {
    names_.emplace_back();
    return open(J::object());
  }
  bool start_array(std::size_t) override { return open(J::array()); }
  bool end_object() override {
    names_.pop_back();
    return close();
  }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (!names_.back().insert(name).second) problem = "duplicate field " + in_quotes(name);
    if (std::is_same_v<J, Json> && names_.back().size() > kMostFields) problem = too_many_fields();
    if (!problem.empty()) return false;
    next_ = &new_field(open_.back()->template get_ref<typename J::object_t&>(), std::move(name));
    return true;
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

  std::vector<std::unordered_set<std::string>> names_;  // of each open object's fields
  std::vector<J*> open_;  // objects and arrays, the innermost last; one that is open is the last of those
                          // around it, so it does not move
  J* next_ = nullptr;     // of the innermost object's last key
};

// Takes a value over from the fast parser. False where parse_slowly() has to say what is wrong.
template <class J>
bool take(const simdjson::dom::element& from, J& to, std::size_t depth = 0) {
  using simdjson::dom::element_type;
  const element_type kind = from.type();
  if (depth == kDeepest && (kind == element_type::OBJECT || kind == element_type::ARRAY)) return false;
  switch (kind) {
    case element_type::OBJECT: {
      const simdjson::dom::object fields = from;
      to = J::object();
      auto& object = to.template get_ref<typename J::object_t&>();
      if constexpr (std::is_same_v<J, Json>)
        object.reserve(fields.size());  // a vector of pairs with constant keys: growing copies all of them
      if (std::is_same_v<J, Json> && fields.size() > kMostFields) return false;
      std::unordered_set<std::string_view> names;
      for (const auto& [name, value] : fields)
        if (!names.insert(name).second || !take(value, new_field(object, std::string(name)), depth + 1))
          return false;
      return true;
    }
    case element_type::ARRAY: {
      const simdjson::dom::array values = from;
      to = J::array();
      auto& array = to.template get_ref<typename J::array_t&>();
      array.reserve(values.size());
      for (const simdjson::dom::element value : values)
        if (!take(value, array.emplace_back(), depth + 1)) return false;
      return true;
    }
    case element_type::STRING: to = std::string(std::string_view(from)); return true;
    case element_type::INT64: {
      const std::int64_t value = from;
      if (value < 0)
        to = value;
      else
        to = static_cast<std::uint64_t>(value);  // the type that nlohmann's parser gives it
      return true;
    }
    case element_type::UINT64: to = std::uint64_t(from); return true;
    case element_type::DOUBLE: to = double(from); return true;
    case element_type::BOOL: to = bool(from); return true;
    case element_type::NULL_VALUE: to = nullptr; return true;
  }
  return false;
}

// Most of all texts, several times faster; false for what is wrong, or read differently by the two parsers
// (half of a surrogate pair).
template <class J>
bool parse_fast(std::string_view text, J& out) {
  constexpr std::size_t kKept = 1 << 20;  // one long text must not hold its memory for ever
  for (std::size_t at = 0; (at = text.find("\\u", at)) != text.npos; at += 2)
    if (at + 2 < text.size() && (text[at + 2] == 'd' || text[at + 2] == 'D')) return false;
  thread_local simdjson::dom::parser parser;
  simdjson::dom::element root;
  const bool is_taken =
      parser.parse(text.data(), text.size(), true).get(root) == simdjson::SUCCESS && take(root, out);
  if (parser.capacity() > kKept) parser = simdjson::dom::parser();
  return is_taken;
}

// What the library says of a text; where it stands and what is wrong, when something is.
template <class J>
J parse_slowly(std::string_view text, const std::string& file, long line) {
  if (!is_utf8(text)) throw InputError(file, line, "not valid UTF-8");
  Builder<J> builder;
  if (J::sax_parse(text.begin(), text.end(), &builder)) return std::move(builder.root);
  if (builder.is_too_deep)
    throw InputError(file, line + line_of(text, place_too_deep(text)) - 1, "nested deeper than 200 levels");
  if (!builder.problem.empty()) throw InputError(file, line, builder.problem);
  const std::size_t byte = builder.error_byte;
  if (const std::string half = half_surrogate(text, byte); !half.empty())
    throw InputError(file, line + line_of(text, byte - 1) - 1,
                     "half of a surrogate pair, " + half +
                         ": a character was cut in two; write the whole character, or leave it out");
  throw InputError(file, line + line_of(text, byte > 0 ? byte - 1 : 0) - 1,
                   "not valid JSON at byte " + std::to_string(byte));
}

template <class J>
J parse(std::string_view text, const std::string& file, long line) {
  J value;
  return parse_fast(text, value) ? value : parse_slowly<J>(text, file, line);
}

// What stands at text[i], which is valid UTF-8, and its length in bytes.
std::pair<char32_t, std::size_t> character_at(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[i + k]));
  };
  const char32_t b = byte(0);
  if (b < 0x80) return {b, 1};
  if (b < 0xe0) return {(b & 0x1f) << 6 | (byte(1) & 0x3f), 2};
  if (b < 0xf0) return {(b & 0xf) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f), 3};
  return {(b & 7) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f), 4};
}

void append_escape(std::string& out, char32_t c) {
  const auto unit = [&](char32_t u) {
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4)
      out += "0123456789abcdef"[u >> shift & 15];
  };
  if (c < 0x10000)
    unit(c);
  else
    unit(0xd800 + ((c - 0x10000) >> 10)), unit(0xdc00 + ((c - 0x10000) & 0x3ff));
}

// The library writes everything but ", \ and characters below 0x20 as it is. Hidden ones stand in strings
// only, so an escape means the same.
std::string escape_hidden(std::string text) {
  std::string out;
  std::size_t done = 0;
  for (std::size_t i = 0; (i = plain_ascii(text, i)) < text.size();) {
    const auto [c, n] = character_at(text, i);
    if (is_hidden(c)) {
      out.append(text, done, i - done);
      append_escape(out, c);
      done = i + n;
    }
    i += n;
  }
  return done == 0 ? text : out.append(text, done);
}

std::string library_text(const Json& value, int indent = -1) {
  return escape_hidden(value.dump(indent, ' ', false, Json::error_handler_t::replace));
}

// The first place from `from` on that does not stand for itself in a JSON string (", \, not ASCII, a
// control), or text.size().
std::size_t plain_in_string(std::string_view text, std::size_t from) {
  constexpr std::uint64_t kHigh = 0x8080808080808080, kOnes = 0x0101010101010101;
  const auto has_zero = [](std::uint64_t v) { return (v - kOnes) & ~v & kHigh; };
  std::size_t i = from;
  for (std::uint64_t eight; i + 8 <= text.size(); i += 8) {
    std::memcpy(&eight, text.data() + i, 8);
    if (((eight | (eight - 0x20 * kOnes) | (eight + kOnes)) & kHigh) | has_zero(eight ^ ('"' * kOnes)) |
        has_zero(eight ^ ('\\' * kOnes)))
      break;
  }
  for (; i < text.size() && text[i] >= 0x20 && text[i] < 0x7f && text[i] != '"' && text[i] != '\\'; ++i) {
  }
  return i;
}

void append_string(std::string& out, const std::string& text) {
  const std::size_t begin = out.size();
  bool is_checked = false;
  out += '"';
  for (std::size_t i = 0, plain; i < text.size(); i = plain) {
    plain = plain_in_string(text, i);
    out.append(text, i, plain - i);
    if (plain == text.size()) break;
    if (!is_checked && static_cast<unsigned char>(text[plain]) >= 0x80) {
      is_checked = is_utf8(std::string_view(text).substr(plain));
      if (!is_checked) {  // the library puts U+FFFD where it is not
        out.resize(begin);
        out += library_text(text);
        return;
      }
    }
    const auto [c, n] = character_at(text, plain);
    constexpr std::string_view kShort = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
    if (const std::size_t letter = c < 0x80 ? kShort.find(static_cast<char>(c)) : kShort.npos;
        letter != kShort.npos)
      (out += '\\') += kLetters[letter];
    else if (c < 0x20 || is_hidden(c))
      append_escape(out, c);
    else
      out.append(text, plain, n);
    plain += n;
  }
  out += '"';
}

// As the library writes it on one line, hidden characters escaped.
void append(std::string& out, const Json& value) {
  char comma = 0;
  const auto next = [&] {
    if (comma) out += comma;
    comma = ',';
  };
  if (value.is_object()) {
    out += '{';
    for (const auto& [name, field] : value.get_ref<const Json::object_t&>())
      next(), append_string(out, name), out += ':', append(out, field);
    out += '}';
  } else if (value.is_array()) {
    out += '[';
    for (const Json& one : value)
      next(), append(out, one);
    out += ']';
  } else if (value.is_string()) {
    append_string(out, value.get_ref<const std::string&>());
  } else {
    out += library_text(value);
  }
}

}  // namespace

Json parse_json(std::string_view text, const std::string& file, long line) {
  return parse<Json>(text, file, line);
}

SortedJson parse_sorted_json(std::string_view text, const std::string& file, long line) {
  return parse<SortedJson>(text, file, line);
}

std::string to_line(const Json& value) {
  std::string line;
  append(line, value);
  return line;
}

std::string to_lines(const Json& value) {
  return library_text(value, 2) + "\n";
}

void write_sealed(const std::filesystem::path& path, Json value) {
  value.erase("seal");
  value["seal"] = sha256(to_lines(value));
  write_file(path, to_lines(value));
}

Json read_sealed(const std::filesystem::path& path) {
  Json value = parse_json(read_file(path), path.string());
  const std::string seal = value.is_object() && value.contains("seal") && value["seal"].is_string()
                               ? value["seal"].get<std::string>()
                               : "";
  if (value.is_object()) value.erase("seal");
  if (seal != sha256(to_lines(value)))
    throw InputError(path.string(), 0, "checksum mismatch: the file is corrupt or was edited");
  return value;
}

}  // namespace cai
