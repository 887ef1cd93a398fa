// Filters and tests.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "cai/base/text.hpp"
#include "cai/text/jinja_value.hpp"

namespace cai::jinja {
namespace {

using Filter = Value (*)(Machine&, const Value&,
                         const Arguments&);  // the operand, and the arguments with it in front
using Test = bool (*)(Machine&, const Value&, const Arguments&);

bool is_number(const Value& v) {
  return std::holds_alternative<std::int64_t>(v) || std::holds_alternative<double>(v);
}

// "a.b" or an index, of each element.
Value attribute(Machine& m, Value object, const std::string& path) {
  for (const std::string& name : split(path, '.')) {
    const Dict* dict = as_dict(object);
    if (!dict) return Undefined{};
    m.spend(dict->items.size());
    const Value* found = dict->find(name);
    if (!found) return Undefined{};
    object = *found;
  }
  return object;
}

std::string name_argument(Machine& m, const Value* value, const char* what) {
  const Text* text = value ? as_text(*value) : nullptr;
  if (!text) m.fail(std::string(what) + " needs the name of an attribute, a filter or a test");
  return text->bytes;
}

// select, reject, selectattr, rejectattr: the elements for which the test holds, or does not.
Value chosen(Machine& m, const Value& v, const Arguments& a, bool by_attribute, bool wanted) {
  const std::size_t first = by_attribute ? 2 : 1;
  const std::string path = by_attribute ? name_argument(m, a.find(1, "attribute"), "selectattr") : "";
  const std::string name =
      a.positional.size() > first ? name_argument(m, &a.positional[first], "select") : "";
  std::vector<Value> kept;
  if (!truth(v)) return m.list({}, false, true);  // none too
  for (const Value& item : elements(m, v)) {
    Arguments arguments{{by_attribute ? attribute(m, item, path) : item}, {}};
    for (std::size_t i = first + 1; i < a.positional.size(); ++i)
      arguments.positional.push_back(a.positional[i]);
    const bool holds = name.empty() ? truth(arguments.positional[0]) : test(m, name, arguments);
    if (holds == wanted) kept.push_back(item);
  }
  return m.list(std::move(kept), false, true);
}

Value map(Machine& m, const Value& v, const Arguments& a) {
  std::vector<Value> made;
  const Value* path = a.find(99, "attribute");
  const Value* otherwise = a.find(99, "default");
  const std::string name = path ? "" : name_argument(m, a.find(1, "filter"), "map");
  if (!truth(v)) return m.list({}, false, true);  // none too
  for (const Value& item : elements(m, v)) {
    if (path) {
      const Value found = attribute(m, item, name_argument(m, path, "map"));
      made.push_back(is_undefined(found) && otherwise ? *otherwise : found);
      continue;
    }
    Arguments arguments{{item}, a.named};
    for (std::size_t i = 2; i < a.positional.size(); ++i)
      arguments.positional.push_back(a.positional[i]);
    made.push_back(filter(m, name, arguments));
  }
  return m.list(std::move(made), false, true);
}

Value sorted(Machine& m, const Value& v, const Arguments& a) {
  std::vector<Value> items = elements(m, v);
  const Value* path = a.find(3, "attribute");
  const bool reverse = a.find(1, "reverse") && truth(*a.find(1, "reverse")),
             exact = a.find(2, "case_sensitive") && truth(*a.find(2, "case_sensitive"));
  const auto key = [&](const Value& item) {
    const Value found = path ? attribute(m, item, name_argument(m, path, "sort")) : item;
    return as_text(found) && !exact ? m.text(lower(*as_text(found))) : found;
  };
  std::stable_sort(items.begin(), items.end(), [&](const Value& x, const Value& y) {
    return reverse ? less(m, key(y), key(x)) : less(m, key(x), key(y));
  });
  return m.list(std::move(items));
}

Value dictsort(Machine& m, const Value& v, const Arguments&) {
  const Dict* dict = as_dict(v);
  if (!dict) m.fail(std::string("dictsort of ") + type_of(v));
  auto items = dict->items;
  const auto key = [&](const Value& k) { return as_text(k) ? m.text(lower(*as_text(k))) : k; };
  std::stable_sort(items.begin(), items.end(),
                   [&](const auto& x, const auto& y) { return less(m, key(x.first), key(y.first)); });
  std::vector<Value> pairs;
  for (const auto& [k, value] : items)
    pairs.push_back(m.list({k, value}, true));
  return m.list(std::move(pairs));
}

Value unique(Machine& m, const Value& v, const Arguments&) {
  std::vector<Value> kept;
  for (const Value& item : elements(m, v))
    if (std::none_of(kept.begin(), kept.end(), [&](const Value& other) { return equal(m, item, other); }))
      kept.push_back(item);
  return m.list(std::move(kept), false, true);
}

Value length(Machine& m, const Value& v, const Arguments&) {
  if (const Text* text = as_text(v)) return static_cast<std::int64_t>(characters(text->bytes));
  if (const Dict* dict = as_dict(v)) return static_cast<std::int64_t>(dict->items.size());
  if (const List* list = as_list(v)) return static_cast<std::int64_t>(list->items.size());
  if (is_undefined(v)) return std::int64_t{0};
  m.fail(std::string(type_of(v)) + " has no length");
}

// Arguments as transformers' own filter has them: ensure_ascii, indent, separators, sort_keys.
Value tojson(Machine& m, const Value& v, const Arguments& a) {
  JsonStyle style;
  if (const Value* ascii = a.find(1, "ensure_ascii")) style.ascii = truth(*ascii);
  if (const Value* indent = a.find(2, "indent"); indent && std::holds_alternative<std::int64_t>(*indent)) {
    style.indent = static_cast<int>(std::clamp<std::int64_t>(std::get<std::int64_t>(*indent), 0, 1000));
    style.item = ",";
  }
  if (const Value* separators = a.find(3, "separators");
      separators && as_list(*separators) && as_list(*separators)->items.size() == 2) {
    style.item = printed(m, as_list(*separators)->items[0]).bytes;
    style.key = printed(m, as_list(*separators)->items[1]).bytes;
  }
  if (const Value* sorts = a.find(4, "sort_keys")) style.sort_keys = truth(*sorts);
  return m.text(as_json(m, v, style));
}

Value to_integer(Machine& m, const Value& v, const Arguments& a) {
  const Value otherwise = a.find(1, "default") ? *a.find(1, "default") : Value(std::int64_t{0});
  if (const auto* boolean = std::get_if<bool>(&v)) return static_cast<std::int64_t>(*boolean);
  if (std::holds_alternative<std::int64_t>(v)) return v;
  if (const auto* real = std::get_if<double>(&v))
    return std::fabs(*real) < 9e18 ? Value(static_cast<std::int64_t>(*real)) : otherwise;
  if (!as_text(v)) return otherwise;
  const std::string digits = strip(*as_text(v), nullptr, true, true).bytes;
  char* end = nullptr;
  const double x = std::strtod(digits.c_str(), &end);
  return digits.empty() || *end || std::fabs(x) >= 9e18 || digits.find_first_of("xXnN") != digits.npos
             ? otherwise
             : Value(static_cast<std::int64_t>(x));
}

Value to_real(Machine& m, const Value& v, const Arguments& a) {
  if (const auto* integer = std::get_if<std::int64_t>(&v)) return static_cast<double>(*integer);
  if (std::holds_alternative<double>(v)) return v;
  char* end = nullptr;
  const std::string digits = as_text(v) ? strip(*as_text(v), nullptr, true, true).bytes : "";
  const double x = std::strtod(digits.c_str(), &end);
  if (digits.empty() || *end || !std::isfinite(x))
    return a.find(1, "default") ? *a.find(1, "default") : Value(0.0);
  return x;
}

Value indent(Machine& m, const Value& v, const Arguments& a) {
  const Value* width = a.find(1, "width");
  Text before;
  if (width && as_text(*width))
    before = *as_text(*width);
  else
    before.append(std::string(width && std::holds_alternative<std::int64_t>(*width)
                                  ? static_cast<std::size_t>(
                                        std::clamp<std::int64_t>(std::get<std::int64_t>(*width), 0, 1000))
                                  : 4,
                              ' '),
                  0);
  const bool first = a.find(2, "first") && truth(*a.find(2, "first")),
             blank = a.find(3, "blank") && truth(*a.find(3, "blank"));
  const Text text = printed(m, v);
  Text out;
  for (std::size_t from = 0; from <= text.bytes.size();) {
    const std::size_t end = std::min(text.bytes.find('\n', from), text.bytes.size());
    m.spend(before.bytes.size());
    m.allocate(2 * before.bytes.size());
    if ((from > 0 || first) && (blank || end > from)) out.append(before);
    out.append(text, from, end - from + (end < text.bytes.size()));
    from = end + 1;
  }
  return m.text(std::move(out));
}

Value extreme(Machine& m, const Value& v, const Arguments& a, bool largest) {
  const std::vector<Value> items = elements(m, v);
  if (items.empty()) return Undefined{};
  Value best = items[0];
  for (const Value& item : items)
    if (largest ? less(m, best, item) : less(m, item, best)) best = item;
  return best;
}

Value sum(Machine& m, const Value& v, const Arguments&) {
  double real = 0;
  std::int64_t integer = 0;
  bool whole = true;
  for (const Value& item : elements(m, v)) {
    if (!is_number(item)) m.fail(std::string("sum of ") + type_of(item));
    if (const auto* i = std::get_if<std::int64_t>(&item))
      real += static_cast<double>(*i), whole &= !__builtin_add_overflow(integer, *i, &integer);
    else
      real += std::get<double>(item), whole = false;
  }
  return whole ? Value(integer) : Value(real);
}

Value absolute(Machine& m, const Value& v, const Arguments&) {
  if (const auto* integer = std::get_if<std::int64_t>(&v); integer && *integer > INT64_MIN)
    return std::abs(*integer);
  if (const auto* real = std::get_if<double>(&v)) return std::fabs(*real);
  m.fail(std::string("abs of ") + type_of(v));
}

Value rounded(Machine& m, const Value& v, const Arguments& a) {
  if (!is_number(v)) m.fail(std::string("round of ") + type_of(v));
  const double x = std::holds_alternative<double>(v) ? std::get<double>(v)
                                                     : static_cast<double>(std::get<std::int64_t>(v));
  const Value* places = a.find(1, "precision");
  const std::int64_t n = places && std::holds_alternative<std::int64_t>(*places)
                             ? std::clamp<std::int64_t>(std::get<std::int64_t>(*places), -15, 15)
                             : 0;
  const double scale = std::pow(10.0, static_cast<double>(n));
  return std::nearbyint(x * scale) / scale;
}

// Other than the method, the filter knows words by what stands before them.
Text titled_words(const Text& text) {
  Text out;
  for (std::size_t from = 0; from < text.bytes.size();) {
    const std::size_t end = std::min(text.bytes.find_first_of("- \t\n\r\f\v({[<", from), text.bytes.size());
    out.append(capitalised(text.part(from, end - from)));
    if (end < text.bytes.size()) out.append(text, end, 1);
    from = end + 1;
  }
  return out;
}

Value reversed(Machine& m, const Value& v, const Arguments&) {
  std::vector<Value> items = elements(m, v);
  std::reverse(items.begin(), items.end());
  Text empty;
  return as_text(v) ? m.text(join(m, empty, items)) : m.list(std::move(items), false, true);
}

Value escaped(Machine& m, const Value& v, const Arguments&) {
  const Text text = printed(m, v);
  Text out;
  for (std::size_t i = 0; i < text.bytes.size(); ++i) {
    const char c = text.bytes[i];
    const char* name = c == '&'    ? "&amp;"
                       : c == '<'  ? "&lt;"
                       : c == '>'  ? "&gt;"
                       : c == '"'  ? "&#34;"
                       : c == '\'' ? "&#39;"
                                   : nullptr;
    out.append(name ? std::string(name) : std::string(1, c), text.typed[i]);
  }
  return m.text(std::move(out));
}

const std::map<std::string, Filter>& filters() {
  static const std::map<std::string, Filter> all = {
      {"trim",
       [](Machine& m, const Value& v, const Arguments& a) {
         return m.text(
             strip(printed(m, v), a.find(1, "chars") ? as_text(*a.find(1, "chars")) : nullptr, true, true));
       }},
      {"upper", [](Machine& m, const Value& v, const Arguments&) { return m.text(upper(printed(m, v))); }},
      {"lower", [](Machine& m, const Value& v, const Arguments&) { return m.text(lower(printed(m, v))); }},
      {"title",
       [](Machine& m, const Value& v, const Arguments&) { return m.text(titled_words(printed(m, v))); }},
      {"capitalize",
       [](Machine& m, const Value& v, const Arguments&) { return m.text(capitalised(printed(m, v))); }},
      {"string", [](Machine& m, const Value& v, const Arguments&) { return m.text(printed(m, v)); }},
      {"safe", [](Machine& m, const Value& v, const Arguments&) { return m.text(printed(m, v)); }},
      {"escape", escaped},
      {"e", escaped},
      {"replace",
       [](Machine& m, const Value& v, const Arguments& a) {
         if (a.positional.size() < 3) m.fail("replace needs two texts");
         const Value* most = a.find(3, "count");
         return m.text(replace(
             m, printed(m, v), printed(m, a.positional[1]), printed(m, a.positional[2]),
             most && std::holds_alternative<std::int64_t>(*most) ? std::get<std::int64_t>(*most) : -1));
       }},
      {"default",
       [](Machine& m, const Value& v, const Arguments& a) {
         const bool also_false = a.find(2, "boolean") && truth(*a.find(2, "boolean"));
         if (!is_undefined(v) && (!also_false || truth(v))) return v;
         return a.find(1, "default_value") ? *a.find(1, "default_value") : m.text("");
       }},
      {"join",
       [](Machine& m, const Value& v, const Arguments& a) {
         std::vector<Value> items = elements(m, v);
         if (const Value* path = a.find(2, "attribute"))
           for (Value& item : items)
             item = attribute(m, item, name_argument(m, path, "join"));
         return m.text(join(m, a.find(1, "d") ? printed(m, *a.find(1, "d")) : Text{}, items));
       }},
      {"length", length},
      {"count", length},
      {"tojson", tojson},
      {"int", to_integer},
      {"float", to_real},
      {"indent", indent},
      {"list", [](Machine& m, const Value& v, const Arguments&) { return m.list(elements(m, v)); }},
      {"items",
       [](Machine& m, const Value& v, const Arguments&) {
         if (is_undefined(v)) return m.list({});
         if (!as_dict(v)) m.fail(std::string("items of ") + type_of(v));
         std::vector<Value> pairs;
         for (const auto& [key, value] : as_dict(v)->items)
           pairs.push_back(m.list({key, value}, true));
         return m.list(std::move(pairs), false, true);
       }},
      {"first",
       [](Machine& m, const Value& v, const Arguments&) {
         const auto items = elements(m, v);
         return items.empty() ? Value(Undefined{}) : items.front();
       }},
      {"last",
       [](Machine& m, const Value& v, const Arguments&) {
         const auto items = elements(m, v);
         return items.empty() ? Value(Undefined{}) : items.back();
       }},
      {"select", [](Machine& m, const Value& v, const Arguments& a) { return chosen(m, v, a, false, true); }},
      {"reject",
       [](Machine& m, const Value& v, const Arguments& a) { return chosen(m, v, a, false, false); }},
      {"selectattr",
       [](Machine& m, const Value& v, const Arguments& a) { return chosen(m, v, a, true, true); }},
      {"rejectattr",
       [](Machine& m, const Value& v, const Arguments& a) { return chosen(m, v, a, true, false); }},
      {"map", map},
      {"sort", sorted},
      {"dictsort", dictsort},
      {"unique", unique},
      {"reverse", reversed},
      {"min", [](Machine& m, const Value& v, const Arguments& a) { return extreme(m, v, a, false); }},
      {"max", [](Machine& m, const Value& v, const Arguments& a) { return extreme(m, v, a, true); }},
      {"sum", sum},
      {"abs", absolute},
      {"round", rounded},
  };
  return all;
}

const Value& other(Machine& m, const Arguments& a) {
  if (a.positional.size() < 2) m.fail("the test needs a value to compare with");
  return a.positional[1];
}

bool is_in(Machine& m, const Value& v, const Value& all) {
  if (const Text* text = as_text(all)) {
    if (!as_text(v)) m.fail(std::string(type_of(v)) + " in a text");
    m.spend(text->bytes.size());
    return text->bytes.find(as_text(v)->bytes) != std::string::npos;
  }
  if (const Dict* dict = as_dict(all)) return m.spend(dict->items.size()), dict->find(v) != nullptr;
  const std::vector<Value> items = elements(m, all);
  return std::any_of(items.begin(), items.end(), [&](const Value& item) { return equal(m, v, item); });
}

std::int64_t whole(Machine& m, const Value& v) {
  if (const auto* boolean = std::get_if<bool>(&v)) return *boolean;
  if (!std::holds_alternative<std::int64_t>(v))
    m.fail(std::string("an integer is needed, not ") + type_of(v));
  return std::get<std::int64_t>(v);
}

bool test_equal(Machine& m, const Value& v, const Arguments& a) {
  return equal(m, v, other(m, a));
}
bool test_differs(Machine& m, const Value& v, const Arguments& a) {
  return !equal(m, v, other(m, a));
}
bool test_less(Machine& m, const Value& v, const Arguments& a) {
  return less(m, v, other(m, a));
}
bool test_more(Machine& m, const Value& v, const Arguments& a) {
  return less(m, other(m, a), v);
}
bool test_at_most(Machine& m, const Value& v, const Arguments& a) {
  return !less(m, other(m, a), v);
}
bool test_at_least(Machine& m, const Value& v, const Arguments& a) {
  return !less(m, v, other(m, a));
}

const std::map<std::string, Test>& tests() {
  static const std::map<std::string, Test> all = {
      {"defined", [](Machine&, const Value& v, const Arguments&) { return !is_undefined(v); }},
      {"undefined", [](Machine&, const Value& v, const Arguments&) { return is_undefined(v); }},
      {"none", [](Machine&, const Value& v, const Arguments&) { return std::holds_alternative<None>(v); }},
      {"string", [](Machine&, const Value& v, const Arguments&) { return as_text(v) != nullptr; }},
      {"number", [](Machine&, const Value& v,
                    const Arguments&) { return is_number(v) || std::holds_alternative<bool>(v); }},
      {"integer",
       [](Machine&, const Value& v, const Arguments&) { return std::holds_alternative<std::int64_t>(v); }},
      {"float", [](Machine&, const Value& v, const Arguments&) { return std::holds_alternative<double>(v); }},
      {"boolean", [](Machine&, const Value& v, const Arguments&) { return std::holds_alternative<bool>(v); }},
      {"true", [](Machine&, const Value& v, const Arguments&) { return v == Value(true); }},
      {"false", [](Machine&, const Value& v, const Arguments&) { return v == Value(false); }},
      {"mapping",
       [](Machine&, const Value& v, const Arguments&) { return as_dict(v) && !as_dict(v)->is_namespace; }},
      {"sequence",
       [](Machine&, const Value& v, const Arguments&) {
         return as_text(v) || (as_list(v) && !as_list(v)->lazy) ||
                (as_dict(v) && !as_dict(v)->is_namespace) || is_undefined(v);
       }},
      {"iterable",
       [](Machine&, const Value& v, const Arguments&) {
         return as_text(v) || as_list(v) || (as_dict(v) && !as_dict(v)->is_namespace) || is_undefined(v);
       }},
      {"callable",
       [](Machine&, const Value& v, const Arguments&) { return std::holds_alternative<const Function*>(v); }},
      {"lower",
       [](Machine& m, const Value& v, const Arguments&) {
         const Text t = printed(m, v);
         return lower(t).bytes == t.bytes && upper(t).bytes != t.bytes;
       }},
      {"upper",
       [](Machine& m, const Value& v, const Arguments&) {
         const Text t = printed(m, v);
         return upper(t).bytes == t.bytes && lower(t).bytes != t.bytes;
       }},
      {"odd", [](Machine& m, const Value& v, const Arguments&) { return whole(m, v) % 2 != 0; }},
      {"even", [](Machine& m, const Value& v, const Arguments&) { return whole(m, v) % 2 == 0; }},
      {"divisibleby",
       [](Machine& m, const Value& v, const Arguments& a) {
         const std::int64_t n = whole(m, other(m, a));
         if (n == 0) m.fail("a division by zero");
         return n == -1 || whole(m, v) % n == 0;
       }},
      {"in", [](Machine& m, const Value& v, const Arguments& a) { return is_in(m, v, other(m, a)); }},
      {"sameas", [](Machine& m, const Value& v, const Arguments& a) { return v == other(m, a); }},
      {"equalto", test_equal},
      {"eq", test_equal},
      {"==", test_equal},
      {"ne", test_differs},
      {"!=", test_differs},
      {"lt", test_less},
      {"lessthan", test_less},
      {"<", test_less},
      {"gt", test_more},
      {"greaterthan", test_more},
      {">", test_more},
      {"le", test_at_most},
      {"<=", test_at_most},
      {"ge", test_at_least},
      {">=", test_at_least},
  };
  return all;
}

}  // namespace

// A name that is not known fails where it is used: templates have branches for other engines.
Value filter(Machine& machine, const std::string& name, const Arguments& arguments) {
  const auto found = filters().find(name == "d" ? "default" : name);
  if (found == filters().end()) machine.fail("the filter " + in_quotes(name) + " is not known");
  return found->second(machine, arguments.positional.at(0), arguments);
}

bool test(Machine& machine, const std::string& name, const Arguments& arguments) {
  const auto found = tests().find(name);
  if (found == tests().end()) machine.fail("the test " + in_quotes(name) + " is not known");
  return found->second(machine, arguments.positional.at(0), arguments);
}

}  // namespace cai::jinja
