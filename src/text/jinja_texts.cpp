// Operations on texts that keep who typed what, and the methods of texts, lists and dicts.
#include <algorithm>
#include <cstdint>
#include <string>

#include "cai/base/unicode.hpp"
#include "cai/text/jinja_value.hpp"

namespace cai::jinja {
namespace {

// str.strip() and str.split() take the separators of ASCII along, beside what Unicode calls white space.
bool is_python_space(char32_t c) {
  return is_white_space(c) || (c >= 0x1c && c <= 0x1f);
}

bool is_one_of(const Text* characters, std::string_view one) {
  std::size_t size = 0;
  return characters ? characters->bytes.find(one) != std::string::npos
                    : is_python_space(character_at(one, 0, size));
}

Text mapped(const Text& text, std::string (*change)(std::string_view), std::size_t first = 0,
            std::size_t n = std::string::npos) {
  Text out;
  const std::size_t end = n == std::string::npos ? text.bytes.size() : std::min(text.bytes.size(), first + n);
  for (std::size_t at = first, size = 0; at < end; at += size) {
    character_at(text.bytes, at, size);
    out.append(change(std::string_view(text.bytes).substr(at, size)), text.typed[at]);
  }
  return out;
}

const Text& need_text(Machine& machine, const Value* value, const char* what) {
  const Text* text = value ? as_text(*value) : nullptr;
  if (!text)
    machine.fail(std::string(what) + " needs a text" +
                 (value ? std::string(", not ") + type_of(*value) : ""));
  return *text;
}

std::int64_t integer_or(Machine& machine, const Value* value, std::int64_t otherwise) {
  if (!value || std::holds_alternative<None>(*value)) return otherwise;
  if (const auto* integer = std::get_if<std::int64_t>(value)) return *integer;
  machine.fail(std::string("an integer is needed, not ") + type_of(*value));
}

std::vector<Value> split_at_spaces(Machine& machine, const Text& text, std::int64_t most) {
  std::vector<Value> parts;
  std::size_t at = 0, size = 0;
  const auto space = [&](std::size_t i) { return is_python_space(character_at(text.bytes, i, size)); };
  while (true) {
    while (at < text.bytes.size() && space(at))
      at += size;
    if (at >= text.bytes.size()) return parts;
    if (most >= 0 && static_cast<std::int64_t>(parts.size()) >= most) {
      parts.push_back(machine.text(strip(text.part(at), nullptr, false, true)));
      return parts;
    }
    const std::size_t from = at;
    while (at < text.bytes.size() && !space(at))
      at += size;
    parts.push_back(machine.text(text.part(from, at - from)));
  }
}

std::vector<Value> split_at(Machine& machine, const Text& text, const Text& separator, std::int64_t most) {
  if (separator.bytes.empty()) machine.fail("split with an empty separator");
  std::vector<Value> parts;
  std::size_t from = 0;
  for (std::size_t at; (most < 0 || static_cast<std::int64_t>(parts.size()) < most) &&
                       (at = text.bytes.find(separator.bytes, from)) != std::string::npos;) {
    parts.push_back(machine.text(text.part(from, at - from)));
    from = at + separator.bytes.size();
  }
  parts.push_back(machine.text(text.part(from)));
  return parts;
}

std::vector<Value> split_at_from_the_end(Machine& machine, const Text& text, const Text& separator,
                                         std::int64_t most) {
  if (most < 0) return split_at(machine, text, separator, most);
  if (separator.bytes.empty()) machine.fail("rsplit with an empty separator");
  std::vector<Value> parts;
  std::size_t to = text.bytes.size();
  while (static_cast<std::int64_t>(parts.size()) < most && to >= separator.bytes.size()) {
    const std::size_t at = text.bytes.rfind(separator.bytes, to - separator.bytes.size());
    if (at == std::string::npos) break;
    parts.push_back(machine.text(text.part(at + separator.bytes.size(), to - at - separator.bytes.size())));
    to = at;
  }
  parts.push_back(machine.text(text.part(0, to)));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<Value> lines(Machine& machine, const Text& text, bool keep_ends) {
  std::vector<Value> parts;
  std::size_t from = 0, size = 0;
  for (std::size_t at = 0; at < text.bytes.size(); at += size) {
    const char32_t c = character_at(text.bytes, at, size);
    const bool ends =
        (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!ends) continue;
    if (c == '\r' && at + 1 < text.bytes.size() && text.bytes[at + 1] == '\n') size = 2;
    parts.push_back(machine.text(text.part(from, at - from + (keep_ends ? size : 0))));
    from = at + size;
  }
  if (from < text.bytes.size()) parts.push_back(machine.text(text.part(from)));
  return parts;
}

bool has_affix(Machine& machine, const Text& text, const Value* affix, bool at_end) {
  const auto fits = [&](const Value& one) {
    const Text& wanted = need_text(machine, &one, at_end ? "endswith" : "startswith");
    return at_end ? text.bytes.ends_with(wanted.bytes) : text.bytes.starts_with(wanted.bytes);
  };
  if (const List* list = affix ? as_list(*affix) : nullptr)
    return std::any_of(list->items.begin(), list->items.end(), fits);
  return affix ? fits(*affix) : (machine.fail("a text is needed"), false);
}

bool all_characters(const Text& text, bool (*property)(char32_t)) {
  std::size_t size = 0;
  for (std::size_t at = 0; at < text.bytes.size(); at += size)
    if (!property(character_at(text.bytes, at, size))) return false;
  return !text.bytes.empty();
}

Value found_at(const Text& text, std::size_t at) {
  return at == std::string::npos
             ? std::int64_t{-1}
             : static_cast<std::int64_t>(characters(std::string_view(text.bytes).substr(0, at)));
}

std::int64_t occurrences(const Text& text, const Text& wanted) {
  std::int64_t n = 0;
  for (std::size_t at = 0;
       !wanted.bytes.empty() && (at = text.bytes.find(wanted.bytes, at)) != std::string::npos;
       at += wanted.bytes.size())
    ++n;
  return n;
}

// "{} {0} {name}".format(...), without formats of their own.
Text formatted(Machine& m, const Text& text, const Arguments& a) {
  Text out;
  std::size_t next = 0, done = 0;
  while (true) {
    const std::size_t at = text.bytes.find_first_of("{}", done);
    out.append(text, done, at == std::string::npos ? at : at - done);
    if (at == std::string::npos) return out;
    if (at + 1 < text.bytes.size() && text.bytes[at + 1] == text.bytes[at]) {
      out.append(text, at, 1);
      done = at + 2;
      continue;
    }
    const std::size_t end = text.bytes.find('}', at);
    if (text.bytes[at] == '}' || end == std::string::npos) m.fail("format: a single brace");
    const std::string name = text.bytes.substr(at + 1, end - at - 1);
    const bool counted = name.find_first_not_of("0123456789") == name.npos && name.size() < 6;
    const Value* found =
        counted ? a.find(name.empty() ? next++ : std::stoul(name), "") : a.find(SIZE_MAX, name);
    if (!found) m.fail("format: nothing for {" + name + "}");
    out.append(printed(m, *found));
    done = end + 1;
  }
}

using Method = Value (*)(Machine&, const Value&, const Arguments&);

const Text& self(const Value& value) {
  return *std::get<const Text*>(value);
}
const Text* optional_text(Machine& m, const Value* value, const char* what) {
  return value && !std::holds_alternative<None>(*value) ? &need_text(m, value, what) : nullptr;
}

const std::map<std::string, Method>& text_methods() {
  static const std::map<std::string, Method> all = {
      {"strip",
       [](Machine& m, const Value& v, const Arguments& a) {
         return m.text(strip(self(v), optional_text(m, a.find(0, "chars"), "strip"), true, true));
       }},
      {"lstrip",
       [](Machine& m, const Value& v, const Arguments& a) {
         return m.text(strip(self(v), optional_text(m, a.find(0, "chars"), "lstrip"), true, false));
       }},
      {"rstrip",
       [](Machine& m, const Value& v, const Arguments& a) {
         return m.text(strip(self(v), optional_text(m, a.find(0, "chars"), "rstrip"), false, true));
       }},
      {"upper", [](Machine& m, const Value& v, const Arguments&) { return m.text(upper(self(v))); }},
      {"lower", [](Machine& m, const Value& v, const Arguments&) { return m.text(lower(self(v))); }},
      {"title", [](Machine& m, const Value& v, const Arguments&) { return m.text(titled(self(v))); }},
      {"capitalize",
       [](Machine& m, const Value& v, const Arguments&) { return m.text(capitalised(self(v))); }},
      {"startswith",
       [](Machine& m, const Value& v, const Arguments& a) {
         return Value(has_affix(m, self(v), a.find(0, "prefix"), false));
       }},
      {"endswith",
       [](Machine& m, const Value& v, const Arguments& a) {
         return Value(has_affix(m, self(v), a.find(0, "suffix"), true));
       }},
      {"split",
       [](Machine& m, const Value& v, const Arguments& a) {
         const Text* separator = optional_text(m, a.find(0, "sep"), "split");
         const std::int64_t most = integer_or(m, a.find(1, "maxsplit"), -1);
         return m.list(separator ? split_at(m, self(v), *separator, most)
                                 : split_at_spaces(m, self(v), most));
       }},
      {"rsplit",
       [](Machine& m, const Value& v, const Arguments& a) {
         return m.list(split_at_from_the_end(m, self(v), need_text(m, a.find(0, "sep"), "rsplit"),
                                             integer_or(m, a.find(1, "maxsplit"), -1)));
       }},
      {"splitlines",
       [](Machine& m, const Value& v, const Arguments& a) {
         return m.list(lines(m, self(v), a.find(0, "keepends") && truth(*a.find(0, "keepends"))));
       }},
      {"replace",
       [](Machine& m, const Value& v, const Arguments& a) {
         return m.text(replace(m, self(v), need_text(m, a.find(0, "old"), "replace"),
                               need_text(m, a.find(1, "new"), "replace"),
                               integer_or(m, a.find(2, "count"), -1)));
       }},
      {"format",
       [](Machine& m, const Value& v, const Arguments& a) { return m.text(formatted(m, self(v), a)); }},
      {"find",
       [](Machine& m, const Value& v, const Arguments& a) {
         return found_at(self(v), self(v).bytes.find(need_text(m, a.find(0, "sub"), "find").bytes));
       }},
      {"rfind",
       [](Machine& m, const Value& v, const Arguments& a) {
         return found_at(self(v), self(v).bytes.rfind(need_text(m, a.find(0, "sub"), "rfind").bytes));
       }},
      {"count",
       [](Machine& m, const Value& v, const Arguments& a) {
         return Value(occurrences(self(v), need_text(m, a.find(0, "sub"), "count")));
       }},
      {"join",
       [](Machine& m, const Value& v, const Arguments& a) {
         return m.text(join(
             m, self(v), a.find(0, "iterable") ? elements(m, *a.find(0, "iterable")) : std::vector<Value>{}));
       }},
      {"removeprefix",
       [](Machine& m, const Value& v, const Arguments& a) {
         const Text& prefix = need_text(m, a.find(0, "prefix"), "removeprefix");
         return m.text(self(v).bytes.starts_with(prefix.bytes) ? self(v).part(prefix.bytes.size()) : self(v));
       }},
      {"removesuffix",
       [](Machine& m, const Value& v, const Arguments& a) {
         const Text& suffix = need_text(m, a.find(0, "suffix"), "removesuffix");
         return m.text(self(v).bytes.ends_with(suffix.bytes)
                           ? self(v).part(0, self(v).bytes.size() - suffix.bytes.size())
                           : self(v));
       }},
      {"isdigit",
       [](Machine&, const Value& v, const Arguments&) {
         return Value(all_characters(self(v), [](char32_t c) { return c >= '0' && c <= '9'; }));
       }},
      {"isspace", [](Machine&, const Value& v,
                     const Arguments&) { return Value(all_characters(self(v), is_python_space)); }},
      {"isupper",
       [](Machine&, const Value& v, const Arguments&) {
         return Value(upper(self(v)).bytes == self(v).bytes && lower(self(v)).bytes != self(v).bytes);
       }},
      {"islower",
       [](Machine&, const Value& v, const Arguments&) {
         return Value(lower(self(v)).bytes == self(v).bytes && upper(self(v)).bytes != self(v).bytes);
       }},
  };
  return all;
}

std::vector<Value> pairs_of(Machine& m, const Dict& dict) {
  std::vector<Value> items;
  for (const auto& [key, value] : dict.items)
    items.push_back(m.list({key, value}, true));
  return items;
}

const std::map<std::string, Method>& dict_methods() {
  static const std::map<std::string, Method> all = {
      {"items",
       [](Machine& m, const Value& v, const Arguments&) { return m.list(pairs_of(m, *as_dict(v))); }},
      {"keys", [](Machine& m, const Value& v, const Arguments&) { return m.list(elements(m, v)); }},
      {"values",
       [](Machine& m, const Value& v, const Arguments&) {
         std::vector<Value> values;
         for (const auto& [key, value] : as_dict(v)->items)
           values.push_back(value);
         return m.list(std::move(values));
       }},
      {"get",
       [](Machine& m, const Value& v, const Arguments& a) {
         if (!a.find(0, "key")) m.fail("get needs a key");
         m.spend(as_dict(v)->items.size());
         const Value* found = as_dict(v)->find(*a.find(0, "key"));
         const Value* otherwise = a.find(1, "default");
         return found ? *found : otherwise ? *otherwise : Value(None{});
       }},
      {"copy",
       [](Machine& m, const Value& v, const Arguments&) {
         Dict* copy = m.dict();
         m.allocate(as_dict(v)->items.size() * 2 * sizeof(Value));
         copy->items = as_dict(v)->items;
         return Value(copy);
       }},
  };
  return all;
}

const std::map<std::string, Method>& list_methods() {
  static const std::map<std::string, Method> all = {
      {"count",
       [](Machine& m, const Value& v, const Arguments& a) {
         std::int64_t n = 0;
         for (const Value& item : as_list(v)->items)
           n += a.find(0, "value") && equal(m, item, *a.find(0, "value"));
         return Value(n);
       }},
      {"index",
       [](Machine& m, const Value& v, const Arguments& a) {
         const std::vector<Value>& items = as_list(v)->items;
         for (std::size_t i = 0; i < items.size(); ++i)
           if (a.find(0, "value") && equal(m, items[i], *a.find(0, "value")))
             return Value(static_cast<std::int64_t>(i));
         m.fail("index: the list does not have it");
       }},
  };
  return all;
}

}  // namespace

Text strip(const Text& text, const Text* characters, bool left, bool right) {
  std::size_t from = 0, kept = 0, size = 0;
  bool begun = !left;
  for (std::size_t at = 0; at < text.bytes.size(); at += size) {
    character_at(text.bytes, at, size);
    const bool goes = is_one_of(characters, std::string_view(text.bytes).substr(at, size));
    if (!begun && !goes) begun = true, from = at;
    if (!goes) kept = at + size;
  }
  if (!begun) return {};
  return text.part(from, right ? std::max(from, kept) - from : std::string::npos);
}

Text replace(Machine& machine, const Text& text, const Text& from, const Text& to, std::int64_t most) {
  Text out;
  std::size_t done = 0;
  std::int64_t n = 0;
  const auto put = [&](std::size_t at) {
    machine.spend(at - done + to.bytes.size());
    machine.allocate(2 * to.bytes.size());
    out.append(text, done, at - done);
    out.append(to);
    ++n;
  };
  if (from.bytes.empty()) {  // Python puts `to` before each character and behind the last one
    std::size_t size = 0;
    for (std::size_t at = 0; at <= text.bytes.size() && (most < 0 || n < most); at += size) {
      put(at), done = at;
      if (at == text.bytes.size()) break;
      character_at(text.bytes, at, size);
    }
  } else {
    for (std::size_t at;
         (most < 0 || n < most) && (at = text.bytes.find(from.bytes, done)) != std::string::npos;)
      put(at), done = at + from.bytes.size();
  }
  out.append(text, done);
  return out;
}

Text upper(const Text& text) {
  return mapped(text, upper_case);
}
Text lower(const Text& text) {
  return mapped(text, lower_case);
}

Text capitalised(const Text& text) {
  std::size_t size = 0;
  if (text.bytes.empty()) return text;
  character_at(text.bytes, 0, size);
  Text out = mapped(text, upper_case, 0, size);
  out.append(mapped(text, lower_case, size));
  return out;
}

Text titled(const Text& text) {
  Text out;
  bool inside = false;
  for (std::size_t at = 0, size = 0; at < text.bytes.size(); at += size) {
    const char32_t c = character_at(text.bytes, at, size);
    out.append(mapped(text, inside ? lower_case : upper_case, at, size));
    inside = is_word_character(c) && c != '_' && !(c >= '0' && c <= '9');
  }
  return out;
}

Text join(Machine& machine, const Text& separator, const std::vector<Value>& items) {
  Text out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    machine.spend(separator.bytes.size());
    machine.allocate(2 * separator.bytes.size());
    if (i) out.append(separator);
    out.append(printed(machine, items[i]));
  }
  return out;
}

const Value* method_of(Machine& machine, const Value& object, const std::string& name, Value& made) {
  const auto* dict = as_dict(object);
  if (!as_text(object) && !as_list(object) && (!dict || dict->is_namespace)) return nullptr;
  const std::map<std::string, Method>& methods = as_text(object) ? text_methods()
                                                 : dict          ? dict_methods()
                                                                 : list_methods();
  const auto found = methods.find(name);
  if (found == methods.end()) return nullptr;
  made = machine.function([&machine, object, method = found->second](const Arguments& arguments) {
    return method(machine, object, arguments);
  });
  return &made;
}

}  // namespace cai::jinja
