#include <algorithm>
#include <cmath>

#include "cai/base/text.hpp"
#include "cai/base/unicode.hpp"
#include "cai/text/jinja_run.hpp"

namespace cai::jinja {
namespace {

constexpr int kMaxDepth = 500;

bool is_integer(const Value& v) {
  return std::holds_alternative<std::int64_t>(v) || std::holds_alternative<bool>(v);
}
bool is_number(const Value& v) {
  return is_integer(v) || std::holds_alternative<double>(v);
}
std::int64_t integer_of(const Value& v) {
  return std::holds_alternative<bool>(v) ? std::get<bool>(v) : std::get<std::int64_t>(v);
}
double real_of(const Value& v) {
  return std::holds_alternative<double>(v) ? std::get<double>(v) : static_cast<double>(integer_of(v));
}

// Where a slice begins and ends, as Python cuts it; `end` counts down below 0 for a negative step.
struct Cut {
  std::int64_t begin, end, step;
};

Cut cut_of(std::int64_t size, const Value& from, const Value& to, std::int64_t step) {
  const std::int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  const auto bound = [&](const Value& v, std::int64_t otherwise) {
    if (!is_integer(v)) return otherwise;
    const std::int64_t i = integer_of(v);
    return std::clamp(i < 0 ? std::max(i, -size - 1) + size : i, low, high);
  };
  return {bound(from, step > 0 ? low : high), bound(to, step > 0 ? high : low), step};
}

}  // namespace

Value Interpreter::evaluate(const Node& node, Scope* scope) {
  machine_.line = node.line;
  machine_.spend(1);
  if (++depth_ > kMaxDepth) machine_.fail("calls are nested too deeply");
  Value value = evaluate_kind(node, scope);
  --depth_;  // not behind an exception, which ends the rendering
  return value;
}

Value Interpreter::evaluate_kind(const Node& node, Scope* scope) {
  switch (node.kind) {
    case NodeKind::kText: return machine_.text(node.name);
    case NodeKind::kInteger: return node.integer;
    case NodeKind::kReal: return node.real;
    case NodeKind::kBool: return node.integer != 0;
    case NodeKind::kNone: return None{};
    case NodeKind::kName: {
      const Value* found = scope->find(node.name);
      return found ? *found : Value(Undefined{});
    }
    case NodeKind::kList:
    case NodeKind::kTuple:
    case NodeKind::kDict: return collection(node, scope);
    case NodeKind::kAttribute: return attribute(node, scope);
    case NodeKind::kItem: return item(node, scope);
    case NodeKind::kSlice: return slice(node, scope);
    case NodeKind::kCall: return call(node, scope);
    case NodeKind::kFilter: return filtered(node, scope);
    case NodeKind::kTest: return test(machine_, node.name, arguments(node, 0, scope));
    case NodeKind::kNot: return !truth(evaluate(*node.children[0], scope));
    case NodeKind::kUnary:
    case NodeKind::kBinary: return binary(node, scope);
    case NodeKind::kCompare: return comparison(node, scope);
    case NodeKind::kAnd:
    case NodeKind::kOr: {
      const Value left = evaluate(*node.children[0], scope);
      return truth(left) == (node.kind == NodeKind::kOr) ? left : evaluate(*node.children[1], scope);
    }
    case NodeKind::kTernary:
      if (truth(evaluate(*node.children[1], scope))) return evaluate(*node.children[0], scope);
      return node.children[2] ? evaluate(*node.children[2], scope) : Value(Undefined{});
    default: machine_.fail("no expression");
  }
}

Value Interpreter::collection(const Node& node, Scope* scope) {
  if (node.kind != NodeKind::kDict) {
    std::vector<Value> items;
    for (const NodePtr& child : node.children)
      items.push_back(evaluate(*child, scope));
    return machine_.list(std::move(items), node.kind == NodeKind::kTuple);
  }
  Dict* made = machine_.dict();
  machine_.allocate(node.children.size() * sizeof(Value));
  for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) {
    machine_.spend(made->items.size());
    const Value key = evaluate(*node.children[i], scope);
    made->set(key, evaluate(*node.children[i + 1], scope));
  }
  return made;
}

Value Interpreter::attribute(const Node& node, Scope* scope) {
  const Value object = evaluate(*node.children[0], scope);
  machine_.line = node.line;
  if (is_undefined(object))
    machine_.fail("the attribute " + in_quotes(node.name) + " of something undefined");
  Value made;
  if (method_of(machine_, object, node.name, made)) return made;
  if (const List* list = as_list(object); list && node.name[0] >= '0' && node.name[0] <= '9') {  // words.0
    const std::size_t index = node.name.size() < 9 ? std::stoul(node.name) : list->items.size();
    return index < list->items.size() ? list->items[index] : Value(Undefined{});
  }
  if (const Dict* dict = as_dict(object)) {
    machine_.spend(dict->items.size());
    if (const Value* found = dict->find(node.name)) return *found;
  }
  for (const char* name : {"append", "extend", "insert", "pop", "remove", "clear", "update", "setdefault"})
    if (node.name == name && (as_list(object) || as_dict(object)))
      machine_.fail(in_quotes(node.name) +
                    " changes a value; accepted: new values, attributes of a namespace");
  return Undefined{};
}

Value Interpreter::item(const Node& node, Scope* scope) {
  const Value object = evaluate(*node.children[0], scope), key = evaluate(*node.children[1], scope);
  machine_.line = node.line;
  if (is_undefined(object)) machine_.fail("an element of something undefined");
  if (const Dict* dict = as_dict(object)) {
    machine_.spend(dict->items.size());
    if (const Value* found = dict->find(key)) return *found;
  }
  if (const Text* name = as_text(key)) {
    Value made;
    return method_of(machine_, object, name->bytes, made) ? made : Value(Undefined{});
  }
  if (!is_integer(key) || as_dict(object)) return Undefined{};
  const std::int64_t index = integer_of(key);
  if (const List* list = as_list(object)) {
    const auto n = static_cast<std::int64_t>(list->items.size());
    return index < -n || index >= n ? Value(Undefined{})
                                    : list->items[static_cast<std::size_t>(index < 0 ? index + n : index)];
  }
  if (!as_text(object)) return Undefined{};
  const std::vector<Value> letters = elements(machine_, object);
  const auto n = static_cast<std::int64_t>(letters.size());
  return index < -n || index >= n ? Value(Undefined{})
                                  : letters[static_cast<std::size_t>(index < 0 ? index + n : index)];
}

Value Interpreter::slice(const Node& node, Scope* scope) {
  const Value object = evaluate(*node.children[0], scope);
  Value bounds[3];
  for (std::size_t i = 0; i < 3; ++i)
    if (node.children[i + 1]) bounds[i] = evaluate(*node.children[i + 1], scope);
  machine_.line = node.line;
  const std::int64_t step = is_integer(bounds[2]) ? integer_of(bounds[2]) : 1;
  if (step == 0) machine_.fail("a slice with step 0");
  if (as_dict(object) || is_undefined(object)) machine_.fail(std::string("a slice of ") + type_of(object));
  const std::vector<Value> all = elements(machine_, object);
  const Cut cut = cut_of(static_cast<std::int64_t>(all.size()), bounds[0], bounds[1], step);
  std::vector<Value> kept;
  for (std::int64_t i = cut.begin; step > 0 ? i < cut.end : i > cut.end;) {
    kept.push_back(all[static_cast<std::size_t>(i)]);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  if (!as_text(object)) return machine_.list(std::move(kept), as_list(object)->tuple);
  return machine_.text(join(machine_, Text{}, kept));
}

Arguments Interpreter::arguments(const Node& node, std::size_t first, Scope* scope) {
  Arguments made;
  const std::size_t positional = node.children.size() - node.names.size();
  for (std::size_t i = first; i < node.children.size(); ++i) {
    if (!node.children[i])
      made.positional.push_back(*scope->find(" operand"));  // of a filter block
    else if (i < positional)
      made.positional.push_back(evaluate(*node.children[i], scope));
    else
      made.named.emplace_back(node.names[i - positional], evaluate(*node.children[i], scope));
  }
  return made;
}

Value Interpreter::call(const Node& node, Scope* scope) {
  const Value callee = evaluate(*node.children[0], scope);
  Arguments given = arguments(node, 1, scope);
  if (const auto caller = scope->variables.find(" caller"); caller != scope->variables.end())
    given.named.emplace_back("caller", caller->second);
  machine_.line = node.line;
  const auto* function = std::get_if<const Function*>(&callee);
  if (!function)
    machine_.fail(
        (node.children[0]->name.empty() ? std::string(type_of(callee)) : in_quotes(node.children[0]->name)) +
        " is no function");
  return (*function)->call(given);
}

Value Interpreter::filtered(const Node& node, Scope* scope) {
  const Arguments given = arguments(node, 0, scope);
  machine_.line = node.line;
  return filter(machine_, node.name, given);
}

Value Interpreter::binary(const Node& node, Scope* scope) {
  const Value a = evaluate(*node.children[0], scope);
  if (node.kind == NodeKind::kUnary)
    return arithmetic("-", std::int64_t{0}, node.name == "-" ? a : arithmetic("-", std::int64_t{0}, a));
  const Value b = evaluate(*node.children[1], scope);
  machine_.line = node.line;
  const std::string& operation = node.name;
  if (operation == "~") {
    Text both = printed(machine_, a);
    both.append(printed(machine_, b));
    return machine_.text(std::move(both));
  }
  if (operation == "+" && as_text(a) && as_text(b)) {
    machine_.allocate(2 * (as_text(a)->bytes.size() + as_text(b)->bytes.size()));
    Text both = *as_text(a);
    both.append(*as_text(b));
    return machine_.text(std::move(both));
  }
  if (operation == "+" && as_list(a) && as_list(b)) {
    machine_.spend(as_list(a)->items.size() + as_list(b)->items.size());
    std::vector<Value> both = elements(machine_, a), rest = elements(machine_, b);
    both.insert(both.end(), rest.begin(), rest.end());
    return machine_.list(std::move(both), as_list(a)->tuple);
  }
  if (operation == "*" && is_integer(b) && (as_text(a) || as_list(a))) return repeated(a, integer_of(b));
  if (operation == "*" && is_integer(a) && (as_text(b) || as_list(b))) return repeated(b, integer_of(a));
  return arithmetic(operation, a, b);
}

Value Interpreter::repeated(const Value& what, std::int64_t times) {
  times = std::max<std::int64_t>(times, 0);
  const std::size_t size = as_text(what) ? as_text(what)->bytes.size() : as_list(what)->items.size();
  if (size > 0 && static_cast<std::size_t>(times) > (std::size_t{1} << 30) / size)
    machine_.fail("a value repeated " + std::to_string(times) + " times is too long");
  machine_.spend(size * static_cast<std::size_t>(times));
  machine_.allocate(size * static_cast<std::size_t>(times) * (as_text(what) ? 2 : sizeof(Value)));
  Text text;
  std::vector<Value> items;
  for (std::int64_t i = 0; size > 0 && i < times; ++i) {
    if (as_text(what))
      text.append(*as_text(what));
    else
      items.insert(items.end(), as_list(what)->items.begin(), as_list(what)->items.end());
  }
  return as_text(what) ? machine_.text(std::move(text)) : machine_.list(std::move(items));
}

Value Interpreter::arithmetic(const std::string& operation, const Value& a, const Value& b) {
  if (!is_number(a) || !is_number(b))
    machine_.fail(std::string(type_of(a)) + " " + operation + " " + type_of(b));
  if ((operation == "/" || operation == "//" || operation == "%") && real_of(b) == 0)
    machine_.fail("a division by zero");
  if (operation == "/") return real_of(a) / real_of(b);
  if (!is_integer(a) || !is_integer(b)) {
    const double x = real_of(a), y = real_of(b);
    if (operation == "+") return x + y;
    if (operation == "-") return x - y;
    if (operation == "*") return x * y;
    if (operation == "//") return std::floor(x / y);
    if (operation == "%") return x - y * std::floor(x / y);
    return std::pow(x, y);
  }
  const std::int64_t x = integer_of(a), y = integer_of(b);
  std::int64_t result = 0;
  bool too_large = false;
  if (operation == "+")
    too_large = __builtin_add_overflow(x, y, &result);
  else if (operation == "-")
    too_large = __builtin_sub_overflow(x, y, &result);
  else if (operation == "*")
    too_large = __builtin_mul_overflow(x, y, &result);
  else if (operation == "**" && y < 0)
    return std::pow(static_cast<double>(x), static_cast<double>(y));
  else if (operation == "**") {
    result = 1;
    for (std::int64_t i = 0; i < y && !too_large && !(x == 1 || (x == 0 && i > 0)); ++i) {
      machine_.spend(1);
      too_large = __builtin_mul_overflow(result, x, &result);
    }
  } else {
    if (y == -1) return operation == "%" ? Value(std::int64_t{0}) : arithmetic("-", std::int64_t{0}, a);
    const std::int64_t quotient = x / y - ((x % y != 0) && ((x < 0) != (y < 0)));
    result = operation == "//" ? quotient : x - quotient * y;
  }
  if (too_large) machine_.fail("a number beyond 64 bits");
  return result;
}

bool Interpreter::compared(const std::string& operation, const Value& a, const Value& b) {
  if (operation == "==") return equal(machine_, a, b);
  if (operation == "!=") return !equal(machine_, a, b);
  if (operation == "<") return less(machine_, a, b);
  if (operation == ">") return less(machine_, b, a);
  if (operation == "<=") return !less(machine_, b, a);
  if (operation == ">=") return !less(machine_, a, b);
  const bool in = test(machine_, "in", {{a, b}, {}});
  return operation == "in" ? in : !in;
}

Value Interpreter::comparison(const Node& node, Scope* scope) {
  Value left = evaluate(*node.children[0], scope);
  for (std::size_t i = 0; i < node.names.size(); ++i) {
    const Value right = evaluate(*node.children[i + 1], scope);
    machine_.line = node.line;
    if (!compared(node.names[i], left, right)) return false;
    left = right;
  }
  return true;
}

}  // namespace cai::jinja
