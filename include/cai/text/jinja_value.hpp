// Values of a running Jinja template, and what running one may cost.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "cai/text/jinja.hpp"
#include "cai/text/jinja_ast.hpp"

namespace cai::jinja {

/// UTF-8, and for each byte whether a person typed it (1) or the template wrote it (0).
struct Text {
  std::string bytes;
  std::string typed;

  void append(std::string_view more, char by) { bytes.append(more), typed.append(more.size(), by); }
  void append(const Text& more, std::size_t from = 0, std::size_t n = std::string::npos) {
    bytes.append(more.bytes, from, n), typed.append(more.typed, from, n);
  }
  Text part(std::size_t from, std::size_t n = std::string::npos) const {
    return {bytes.substr(from, n), typed.substr(from, n)};
  }
};

struct Undefined {
  bool operator==(const Undefined&) const { return true; }
};
struct None {
  bool operator==(const None&) const { return true; }
};
struct List;
struct Dict;
struct Function;

/// Texts, lists, dicts and functions belong to the Machine that made them.
using Value = std::variant<Undefined, None, bool, std::int64_t, double, const Text*, const List*, Dict*,
                           const Function*>;

struct List {
  std::vector<Value> items;
  bool tuple = false;
  bool lazy = false;  // what a filter gives in Python: true even when nothing is in it
};

struct Dict {
  std::vector<std::pair<Value, Value>> items;
  bool is_namespace = false;

  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(const Value& key, const Value& value);
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// The argument at this place or of this name, or null.
  const Value* find(std::size_t place, std::string_view name) const;
};

struct Function {
  std::function<Value(const Arguments&)> call;
};

/// Owns all values of one rendering and counts what it costs. Values are never deleted before the end, so
/// that no chain of them is deleted in depth.
class Machine {
 public:
  explicit Machine(const TemplateLimits& limits) : limits_(limits) {}

  long line = 0;  ///< of the expression at work, for messages

  /// Both throw InputError where a limit is passed.
  void spend(std::size_t steps);
  void allocate(std::size_t bytes);

  [[noreturn]] void fail(const std::string& what) const { jinja::fail(line, what); }

  Value text(Text text);
  Value text(std::string_view by_the_template);
  Value list(std::vector<Value> items, bool tuple = false, bool lazy = false);
  Dict* dict();
  Value function(std::function<Value(const Arguments&)> call);

  /// Strings within are typed by a person where `typed`.
  Value from_json(const Json& json, bool typed);

 private:
  TemplateLimits limits_;
  std::size_t steps_ = 0, bytes_ = 0;
  std::deque<Text> texts_;
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
  std::deque<Function> functions_;
};

const char* type_of(const Value& value);
inline bool is_undefined(const Value& value) {
  return std::holds_alternative<Undefined>(value);
}
inline const Text* as_text(const Value& value) {
  return std::holds_alternative<const Text*>(value) ? std::get<const Text*>(value) : nullptr;
}
inline const List* as_list(const Value& value) {
  return std::holds_alternative<const List*>(value) ? std::get<const List*>(value) : nullptr;
}
inline Dict* as_dict(const Value& value) {
  return std::holds_alternative<Dict*>(value) ? std::get<Dict*>(value) : nullptr;
}

bool truth(const Value& value);
bool equal(Machine& machine, const Value& a, const Value& b, int depth = 0);

/// Whether a < b. Fails for values that have no order.
bool less(Machine& machine, const Value& a, const Value& b);

/// What Python's str() gives; undefined is "".
Text printed(Machine& machine, const Value& value);

/// What Python's json.dumps(ensure_ascii=False) gives. `indent` below 0: on one line.
struct JsonStyle {
  int indent = -1;
  std::string item = ", ", key = ": ";
  bool sort_keys = false, ascii = false;
};
Text as_json(Machine& machine, const Value& value, const JsonStyle& style);

/// The elements that a loop goes through: of a list, the keys of a dict, the characters of a text.
std::vector<Value> elements(Machine& machine, const Value& value);

/// Characters of a text.
std::size_t characters(std::string_view text);

/// A method of a text, list or dict, or null for a name that is none.
const Value* method_of(Machine& machine, const Value& object, const std::string& name, Value& made);

/// Filters and tests by name, with the operand as the first argument.
Value filter(Machine& machine, const std::string& name, const Arguments& arguments);
bool test(Machine& machine, const std::string& name, const Arguments& arguments);

/// Text operations that filters and methods share.
Text strip(const Text& text, const Text* characters, bool left, bool right);
Text replace(Machine& machine, const Text& text, const Text& from, const Text& to, std::int64_t most);
Text upper(const Text& text);
Text lower(const Text& text);
Text capitalised(const Text& text);
Text titled(const Text& text);
Text join(Machine& machine, const Text& separator, const std::vector<Value>& items);

}  // namespace cai::jinja
