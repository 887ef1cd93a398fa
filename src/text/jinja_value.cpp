#include "cai/text/jinja_value.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "cai/base/text.hpp"
#include "cai/base/unicode.hpp"

namespace cai::jinja {
namespace {

constexpr int kMaxValueDepth = 100;

bool is_number(const Value& value) {
  return std::holds_alternative<std::int64_t>(value) || std::holds_alternative<double>(value) ||
         std::holds_alternative<bool>(value);
}

double number_of(const Value& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return static_cast<double>(*integer);
  if (const auto* boolean = std::get_if<bool>(&value)) return *boolean;
  return std::get<double>(value);
}

bool same_key(const Value& a, const Value& b) {
  const Text *left = as_text(a), *right = as_text(b);
  if (left && right) return left->bytes == right->bytes;
  return is_number(a) && is_number(b) ? number_of(a) == number_of(b) : a == b;
}

// Python's repr(): the shortest digits that give the number back, with an exponent below 1e-4 and from 1e16
// on.
std::string real_text(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x < 0 ? "-inf" : "inf";
  char buffer[64];
  const double size = std::fabs(x);
  const bool exponent = size != 0 && (size < 1e-4 || size >= 1e16);
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, x,
                                 exponent ? std::chars_format::scientific : std::chars_format::fixed);
  std::string text(buffer, end.ptr);
  if (!exponent && text.find('.') == text.npos) text += ".0";
  return text;
}

// Python's repr() of a text.
void add_quoted(Text& out, const Text& text) {
  const char quote =
      text.bytes.find('\'') != text.bytes.npos && text.bytes.find('"') == text.bytes.npos ? '"' : '\'';
  out.append(std::string_view(&quote, 1), 0);
  for (std::size_t i = 0; i < text.bytes.size(); ++i) {
    const char c = text.bytes[i], by = text.typed[i];
    if (c == quote || c == '\\') out.append("\\", by);
    if (c == '\n')
      out.append("\\n", by);
    else if (c == '\t')
      out.append("\\t", by);
    else if (c == '\r')
      out.append("\\r", by);
    else
      out.append(std::string_view(&c, 1), by);
  }
  out.append(std::string_view(&quote, 1), 0);
}

void add_printed(Machine& machine, Text& out, const Value& value, bool inside, int depth) {
  machine.spend(1);
  if (depth > kMaxValueDepth) machine.fail("a value is nested too deeply");
  if (const Text* text = as_text(value)) {
    machine.spend(text->bytes.size());
    machine.allocate(2 * text->bytes.size());
    if (inside)
      add_quoted(out, *text);
    else
      out.append(*text);
  } else if (const List* list = as_list(value)) {
    out.append(list->tuple ? "(" : "[", 0);
    for (std::size_t i = 0; i < list->items.size(); ++i) {
      if (i) out.append(", ", 0);
      add_printed(machine, out, list->items[i], true, depth + 1);
    }
    out.append(list->tuple ? (list->items.size() == 1 ? ",)" : ")") : "]", 0);
  } else if (const Dict* dict = as_dict(value)) {
    out.append("{", 0);
    for (std::size_t i = 0; i < dict->items.size(); ++i) {
      if (i) out.append(", ", 0);
      add_printed(machine, out, dict->items[i].first, true, depth + 1);
      out.append(": ", 0);
      add_printed(machine, out, dict->items[i].second, true, depth + 1);
    }
    out.append("}", 0);
  } else if (const auto* boolean = std::get_if<bool>(&value)) {
    out.append(*boolean ? "True" : "False", 0);
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    out.append(std::to_string(*integer), 0);
  } else if (const auto* real = std::get_if<double>(&value)) {
    out.append(real_text(*real), 0);
  } else if (std::holds_alternative<None>(value)) {
    out.append("None", 0);
  } else if (std::holds_alternative<const Function*>(value)) {
    machine.fail("a function is written out; accepted: its result");
  }
}

// A character beyond ASCII as one or two \uXXXX.
std::string json_escape(char32_t code) {
  char buffer[16];
  if (code < 0x10000)
    std::snprintf(buffer, sizeof buffer, "\\u%04x", static_cast<unsigned>(code));
  else
    std::snprintf(buffer, sizeof buffer, "\\u%04x\\u%04x",
                  static_cast<unsigned>(0xd800 + ((code - 0x10000) >> 10)),
                  static_cast<unsigned>(0xdc00 + ((code - 0x10000) & 0x3ff)));
  return buffer;
}

// A text as JSON. What stands for one character counts as typed where that was.
void add_json_text(Text& out, const Text& text, bool ascii) {
  out.append("\"", 0);
  std::size_t size = 1;
  for (std::size_t i = 0; i < text.bytes.size(); i += size) {
    const char c = text.bytes[i], by = text.typed[i];
    const char32_t code = character_at(text.bytes, i, size);
    if (size > 1) {
      out.append(ascii ? json_escape(code) : text.bytes.substr(i, size), by);
      continue;
    }
    static const std::string special = "\"\\\n\r\t\b\f", letters = "\"\\nrtbf";
    if (const std::size_t at = special.find(c); at != special.npos) {
      out.append("\\" + letters.substr(at, 1), by);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      const char* digits = "0123456789abcdef";
      out.append(std::string("\\u00") + digits[c >> 4] + digits[c & 15], by);
    } else {
      out.append(std::string_view(&c, 1), by);
    }
  }
  out.append("\"", 0);
}

class JsonWriter {
 public:
  JsonWriter(Machine& machine, const JsonStyle& style) : machine_(machine), style_(style) {}

  void write(const Value& value, int depth) {
    machine_.spend(1);
    if (depth > kMaxValueDepth) machine_.fail("a value is nested too deeply");
    if (const Text* text = as_text(value)) {
      machine_.spend(text->bytes.size());
      machine_.allocate(4 * text->bytes.size());
      add_json_text(out, *text, style_.ascii);
    } else if (const List* list = as_list(value); list && !list->lazy) {
      write_all("[", "]", list->items.size(), depth,
                [&](std::size_t i) { write(list->items[i], depth + 1); });
    } else if (const Dict* dict = as_dict(value)) {
      write_dict(*dict, depth);
    } else if (const auto* boolean = std::get_if<bool>(&value)) {
      out.append(*boolean ? "true" : "false", 0);
    } else if (std::holds_alternative<None>(value)) {
      out.append("null", 0);
    } else if (is_number(value)) {
      out.append(printed(machine_, value), 0);
    } else {
      machine_.fail(std::string("tojson of ") + type_of(value));
    }
  }

  Text out;

 private:
  Machine& machine_;
  const JsonStyle& style_;

  void line_break(int depth) {
    if (style_.indent < 0) return;
    const std::size_t spaces = static_cast<std::size_t>(style_.indent) * static_cast<std::size_t>(depth);
    machine_.spend(spaces);
    machine_.allocate(2 * spaces);
    out.append("\n" + std::string(spaces, ' '), 0);
  }

  void write_all(const char* open, const char* close, std::size_t n, int depth,
                 const std::function<void(std::size_t)>& one) {
    out.append(open, 0);
    for (std::size_t i = 0; i < n; ++i) {
      if (i) out.append(style_.item, 0);
      line_break(depth + 1);
      one(i);
    }
    if (n) line_break(depth);
    out.append(close, 0);
  }

  void write_dict(const Dict& dict, int depth) {
    std::vector<std::pair<Value, Value>> items = dict.items;
    if (style_.sort_keys)
      std::stable_sort(items.begin(), items.end(),
                       [&](const auto& a, const auto& b) { return less(machine_, a.first, b.first); });
    write_all("{", "}", items.size(), depth, [&](std::size_t i) {
      if (as_text(items[i].first))
        write(items[i].first, depth + 1);
      else
        add_json_text(out, printed(machine_, items[i].first), style_.ascii);
      out.append(style_.key, 0);
      write(items[i].second, depth + 1);
    });
  }
};

}  // namespace

const Value* Dict::find(const Value& key) const {
  for (const auto& [k, v] : items)
    if (same_key(k, key)) return &v;
  return nullptr;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [k, v] : items)
    if (const Text* text = as_text(k); text && text->bytes == key) return &v;
  return nullptr;
}

void Dict::set(const Value& key, const Value& value) {
  if (const Value* found = find(key))
    const_cast<Value&>(*found) = value;
  else
    items.emplace_back(key, value);
}

const Value* Arguments::find(std::size_t place, std::string_view name) const {
  if (place < positional.size()) return &positional[place];
  for (const auto& [key, value] : named)
    if (key == name) return &value;
  return nullptr;
}

void Machine::spend(std::size_t steps) {
  steps_ += steps;
  if (steps_ > limits_.steps) fail("it takes more than " + std::to_string(limits_.steps) + " steps");
}

void Machine::allocate(std::size_t bytes) {
  bytes_ += bytes;
  if (bytes_ > limits_.memory_bytes)
    fail("it takes more than " + std::to_string(limits_.memory_bytes >> 20) + " MiB of memory");
}

Value Machine::text(Text text) {
  spend(text.bytes.size());
  allocate(2 * text.bytes.size() + sizeof(Text));
  return &texts_.emplace_back(std::move(text));
}

Value Machine::text(std::string_view bytes) {
  Text made;
  made.append(bytes, 0);
  return text(std::move(made));
}

Value Machine::list(std::vector<Value> items, bool tuple, bool lazy) {
  spend(items.size());
  allocate(sizeof(List) + items.size() * sizeof(Value));
  return &lists_.emplace_back(List{std::move(items), tuple, lazy});
}

Dict* Machine::dict() {
  allocate(sizeof(Dict) + 64);
  return &dicts_.emplace_back();
}

Value Machine::function(std::function<Value(const Arguments&)> call) {
  allocate(sizeof(Function) + 64);
  return &functions_.emplace_back(Function{std::move(call)});
}

Value Machine::from_json(const Json& json, bool typed) {
  if (json.is_string()) {
    const std::string bytes = to_utf8(json.get_ref<const std::string&>());
    return text(Text{bytes, std::string(bytes.size(), typed ? 1 : 0)});
  }
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<std::int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_array()) {
    std::vector<Value> items;
    for (const Json& item : json)
      items.push_back(from_json(item, typed));
    return list(std::move(items));
  }
  if (!json.is_object()) return None{};
  Dict* made = dict();
  for (const auto& [key, value] : json.items()) {
    allocate(2 * sizeof(Value));
    made->items.emplace_back(text(Text{key, std::string(key.size(), typed ? 1 : 0)}),
                             from_json(value, typed && key != "role" && key != "type"));
  }
  return made;
}

const char* type_of(const Value& value) {
  static const char* const names[] = {"an undefined value", "none",   "a truth value", "an integer",
                                      "a real number",      "a text", "a list",        "a dict",
                                      "a function"};
  return names[value.index()];
}

bool truth(const Value& value) {
  if (const Text* text = as_text(value)) return !text->bytes.empty();
  if (const List* list = as_list(value)) return list->lazy || !list->items.empty();
  if (const Dict* dict = as_dict(value)) return dict->is_namespace || !dict->items.empty();
  if (is_number(value)) return number_of(value) != 0;
  return std::holds_alternative<const Function*>(value);
}

bool equal(Machine& machine, const Value& a, const Value& b, int depth) {
  machine.spend(1);
  if (depth > kMaxValueDepth) machine.fail("a value is nested too deeply");
  if (const List* left = as_list(a), *right = as_list(b); left && right) {
    if (left->items.size() != right->items.size() || left->tuple != right->tuple) return false;
    for (std::size_t i = 0; i < left->items.size(); ++i)
      if (!equal(machine, left->items[i], right->items[i], depth + 1)) return false;
    return true;
  }
  if (const Dict* left = as_dict(a), *right = as_dict(b); left && right) {
    if (left->items.size() != right->items.size()) return false;
    for (const auto& [key, value] : left->items) {
      machine.spend(right->items.size());
      const Value* other = right->find(key);
      if (!other || !equal(machine, value, *other, depth + 1)) return false;
    }
    return true;
  }
  return same_key(a, b);
}

bool less(Machine& machine, const Value& a, const Value& b) {
  machine.spend(1);
  if (const Text* left = as_text(a), *right = as_text(b); left && right) return left->bytes < right->bytes;
  if (is_number(a) && is_number(b)) return number_of(a) < number_of(b);
  machine.fail(std::string(type_of(a)) + " and " + type_of(b) + " have no order");
}

Text printed(Machine& machine, const Value& value) {
  Text out;
  add_printed(machine, out, value, false, 0);
  return out;
}

Text as_json(Machine& machine, const Value& value, const JsonStyle& style) {
  JsonWriter writer(machine, style);
  writer.write(value, 0);
  return std::move(writer.out);
}

std::vector<Value> elements(Machine& machine, const Value& value) {
  std::vector<Value> out;
  if (const List* list = as_list(value)) {
    machine.allocate(list->items.size() * sizeof(Value));
    return list->items;
  }
  if (const Dict* dict = as_dict(value)) {
    for (const auto& [key, unused] : dict->items)
      out.push_back(key);
    machine.allocate(out.size() * sizeof(Value));
    return out;
  }
  if (const Text* text = as_text(value)) {
    for (std::size_t at = 0, size = 0; at < text->bytes.size(); at += size) {
      character_at(text->bytes, at, size);
      out.push_back(machine.text(text->part(at, size)));
    }
    return out;
  }
  if (is_undefined(value)) return out;
  machine.fail(std::string(type_of(value)) + " has no elements");
}

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace cai::jinja
