#include "cai/text/jinja_run.hpp"

#include <algorithm>
#include <ctime>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace jinja {
namespace {

// Deep enough for every template that we know, and far from the end of the stack.
constexpr int kMaxDepth = 500;

Value range(Machine& m, const Arguments& a) {
  std::int64_t bounds[3] = {0, 0, 1};
  for (std::size_t i = 0; i < a.positional.size() && i < 3; ++i) {
    if (!std::holds_alternative<std::int64_t>(a.positional[i]))
      m.fail(std::string("range of ") + type_of(a.positional[i]));
    bounds[i] = std::get<std::int64_t>(a.positional[i]);
  }
  if (a.positional.empty()) m.fail("range needs a number");
  if (a.positional.size() == 1) std::swap(bounds[0], bounds[1]);
  if (bounds[2] == 0) m.fail("range with step 0");
  constexpr std::int64_t kMost = 100'000;  // what the sandbox of transformers allows
  std::vector<Value> items;
  for (std::int64_t i = bounds[0]; bounds[2] > 0 ? i < bounds[1] : i > bounds[1];) {
    if (static_cast<std::int64_t>(items.size()) >= kMost)
      m.fail("a range of more than " + std::to_string(kMost) + " numbers");
    items.emplace_back(i);
    if (__builtin_add_overflow(i, bounds[2], &i)) break;
  }
  return m.list(std::move(items));
}

// The day that Llama 3.1's template falls back on; a template that asks for today gets the same words in
// every run.
Value strftime_now(Machine& m, const Arguments& a) {
  const Text* format = a.positional.empty() ? nullptr : as_text(a.positional[0]);
  if (!format || format->bytes.size() > 100) m.fail("strftime_now needs a format of at most 100 bytes");
  std::tm day{};
  day.tm_year = 124, day.tm_mon = 6, day.tm_mday = 26, day.tm_wday = 5, day.tm_yday = 207;
  char text[2000];
  return m.text(std::string_view(text, std::strftime(text, sizeof text, format->bytes.c_str(), &day)));
}

Dict* dict_of(Machine& m, const Arguments& a) {
  Dict* made = m.dict();
  if (!a.positional.empty()) {
    const Dict* from = as_dict(a.positional[0]);
    if (!from) m.fail(std::string("a dict is needed, not ") + type_of(a.positional[0]));
    made->items = from->items;
    m.allocate(from->items.size() * 2 * sizeof(Value));
  }
  for (const auto& [name, value] : a.named)
    made->set(m.text(name), value);
  return made;
}

Value joiner(Machine& m, const Arguments& a) {
  const Value separator = a.find(0, "sep") ? *a.find(0, "sep") : m.text(", ");
  const auto used = std::make_shared<bool>(false);
  return m.function([&m, separator, used](const Arguments&) {
    const Value now = *used ? separator : m.text("");
    *used = true;
    return now;
  });
}

}  // namespace

const Value* Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope; scope = scope->parent)
    if (const auto it = scope->variables.find(name); it != scope->variables.end()) return &it->second;
  return nullptr;
}

Interpreter::Interpreter(Machine& machine) : machine_(machine) {}

void Interpreter::add_globals(Scope& scope) {
  Machine& m = machine_;
  scope.variables["range"] = m.function([&m](const Arguments& a) { return range(m, a); });
  scope.variables["dict"] = m.function([&m](const Arguments& a) { return Value(dict_of(m, a)); });
  scope.variables["namespace"] = m.function([&m](const Arguments& a) {
    Dict* made = dict_of(m, a);
    made->is_namespace = true;
    return Value(made);
  });
  scope.variables["joiner"] = m.function([&m](const Arguments& a) { return joiner(m, a); });
  scope.variables["strftime_now"] = m.function([&m](const Arguments& a) { return strftime_now(m, a); });
  scope.variables["raise_exception"] = m.function([&m](const Arguments& a) -> Value {
    m.fail("the template refuses this conversation: " +
           in_quotes(a.positional.empty() ? "" : printed(m, a.positional[0]).bytes));
  });
}

Text Interpreter::run(const Node& program, const Json& variables) {
  Scope* globals = inner(nullptr);
  add_globals(*globals);
  for (const auto& [name, value] : variables.items())
    globals->variables[name] = machine_.from_json(value, name == "messages" || name == "tools");
  Text out;
  out_ = &out;
  execute_all(program, inner(globals));
  return out;
}

Scope* Interpreter::inner(Scope* scope) {
  machine_.allocate(sizeof(Scope) + 64);
  scopes_.push_back({{}, scope});
  return &scopes_.back();
}

void Interpreter::write(const Text& text) {
  machine_.spend(text.bytes.size());
  machine_.allocate(2 * text.bytes.size());
  out_->append(text);
}

Interpreter::Flow Interpreter::execute_all(const Node& body, Scope* scope) {
  for (const NodePtr& child : body.children)
    if (const Flow flow = execute(*child, scope); flow != Flow::kOn) return flow;
  return Flow::kOn;
}

Interpreter::Flow Interpreter::execute(const Node& node, Scope* scope) {
  machine_.line = node.line;
  machine_.spend(1);
  if (depth_ > kMaxDepth) machine_.fail("calls are nested too deeply");
  switch (node.kind) {
    case NodeKind::kData: {
      Text data;
      data.append(node.name, 0);
      write(data);
      return Flow::kOn;
    }
    case NodeKind::kOutput: write(printed(machine_, evaluate(*node.children[0], scope))); return Flow::kOn;
    case NodeKind::kBody: return execute_all(node, scope);
    case NodeKind::kIf: return execute_if(node, scope);
    case NodeKind::kFor: return execute_for(node, scope);
    case NodeKind::kSet:
    case NodeKind::kSetBlock: execute_set(node, scope); return Flow::kOn;
    case NodeKind::kMacro:
      scope->variables[node.name] = macro(node, scope, node.names.size());
      return Flow::kOn;
    case NodeKind::kCallBlock: {
      const Value caller = macro(node, scope, node.names.size());
      Scope* with_caller = inner(scope);
      with_caller->variables[" caller"] = caller;  // no name of a template: call() hands it on
      write(printed(machine_, evaluate(*node.children.back(), with_caller)));
      return Flow::kOn;
    }
    case NodeKind::kFilterBlock: {
      Scope* with_operand = inner(scope);
      with_operand->variables[" operand"] = captured(*node.children[0], scope);
      write(printed(machine_, evaluate(*node.children[1], with_operand)));
      return Flow::kOn;
    }
    case NodeKind::kWith: {
      Scope* body = inner(scope);
      for (std::size_t i = 0; i < node.names.size(); ++i)
        body->variables[node.names[i]] = evaluate(*node.children[i + 1], scope);
      return execute_all(*node.children[0], body);
    }
    case NodeKind::kBreak: return Flow::kBreak;
    case NodeKind::kContinue: return Flow::kContinue;
    default: machine_.fail("no statement");
  }
}

Interpreter::Flow Interpreter::execute_if(const Node& node, Scope* scope) {
  std::size_t i = 0;
  for (; i + 1 < node.children.size(); i += 2)
    if (truth(evaluate(*node.children[i], scope))) return execute_all(*node.children[i + 1], scope);
  return i < node.children.size() ? execute_all(*node.children[i], scope) : Flow::kOn;
}

Interpreter::Flow Interpreter::execute_for(const Node& node, Scope* scope) {
  std::vector<Value> items = elements(machine_, evaluate(*node.children[0], scope));
  if (node.children[1]) {
    std::vector<Value> kept;
    Scope* test = inner(scope);
    for (const Value& one : items) {
      assign(node, node.names, one, test);
      if (truth(evaluate(*node.children[1], test))) kept.push_back(one);
    }
    items.swap(kept);
  }
  if (items.empty() && node.children[3]) return execute_all(*node.children[3], scope);
  for (std::size_t i = 0; i < items.size(); ++i) {
    Scope* body = inner(scope);
    body->variables["loop"] = loop(items, i);
    assign(node, node.names, items[i], body);
    if (execute_all(*node.children[2], body) == Flow::kBreak) break;
  }
  return Flow::kOn;
}

Value Interpreter::loop(const std::vector<Value>& items, std::size_t i) {
  Dict* made = machine_.dict();
  const auto n = static_cast<std::int64_t>(items.size()), at = static_cast<std::int64_t>(i);
  const auto add = [&](const char* name, const Value& value) {
    made->items.emplace_back(machine_.text(name), value);
  };
  machine_.allocate(12 * 2 * sizeof(Value));
  add("index", at + 1), add("index0", at), add("revindex", n - at), add("revindex0", n - at - 1),
      add("length", n);
  add("first", i == 0), add("last", at + 1 == n), add("depth", std::int64_t{1}),
      add("depth0", std::int64_t{0});
  if (i > 0) add("previtem", items[i - 1]);
  if (at + 1 < n) add("nextitem", items[i + 1]);
  add("cycle", machine_.function([this, i](const Arguments& a) {
    if (a.positional.empty()) machine_.fail("loop.cycle needs values");
    return a.positional[i % a.positional.size()];
  }));
  return made;
}

void Interpreter::assign(const Node& node, const std::vector<std::string>& names, const Value& value,
                         Scope* scope) {
  if (names.size() == 1) {
    scope->variables[names[0]] = value;
    return;
  }
  const std::vector<Value> parts = elements(machine_, value);
  machine_.line = node.line;
  if (parts.size() != names.size())
    machine_.fail(std::to_string(parts.size()) + " values for " + std::to_string(names.size()) + " names");
  for (std::size_t i = 0; i < names.size(); ++i)
    scope->variables[names[i]] = parts[i];
}

void Interpreter::execute_set(const Node& node, Scope* scope) {
  Value value;
  if (node.kind == NodeKind::kSet) {
    value = evaluate(*node.children[0], scope);
  } else {
    value = captured(*node.children[0], scope);
    if (node.children[1]) {
      Scope* with_operand = inner(scope);
      with_operand->variables[" operand"] = value;
      value = evaluate(*node.children[1], with_operand);
    }
  }
  if (node.name.empty()) return assign(node, node.names, value, scope);
  const Value* found = scope->find(node.names[0]);
  Dict* space = found ? as_dict(*found) : nullptr;
  machine_.line = node.line;
  if (!space || !space->is_namespace)
    machine_.fail(in_quotes(node.names[0]) + " is no namespace; only attributes of one can be set");
  machine_.allocate(2 * sizeof(Value));
  machine_.spend(space->items.size());
  space->set(machine_.text(node.name), value);
}

Value Interpreter::captured(const Node& body, Scope* scope) {
  Text text;
  Text* const before = out_;
  out_ = &text;
  execute_all(body, inner(scope));
  out_ = before;
  return machine_.text(std::move(text));
}

// `node`: the body first, then the default of each parameter.
Value Interpreter::macro(const Node& node, Scope* scope, std::size_t parameters) {
  return machine_.function([this, &node, scope, parameters](const Arguments& a) {
    Scope* body = inner(scope);
    if (a.positional.size() > parameters)
      machine_.fail(std::to_string(a.positional.size()) + " arguments for " + std::to_string(parameters) +
                    " parameters");
    for (std::size_t i = 0; i < parameters; ++i) {
      const NodePtr& otherwise = node.children[i + 1];
      if (const Value* given = a.find(i, node.names[i]))
        body->variables[node.names[i]] = *given;
      else
        body->variables[node.names[i]] = otherwise ? evaluate(*otherwise, body) : Value(Undefined{});
    }
    if (const Value* caller = a.find(SIZE_MAX, "caller")) body->variables["caller"] = *caller;
    return captured(*node.children[0], body);
  });
}

}  // namespace jinja

JinjaTemplate::JinjaTemplate(const std::string& source, const TemplateLimits& limits) : limits_(limits) {
  if (source.size() > limits.source_bytes)
    throw InputError("chat template: " + std::to_string(source.size()) + " bytes; accepted: at most " +
                     std::to_string(limits.source_bytes));
  program_ = jinja::parse(source);
}

std::vector<TextPart> JinjaTemplate::render(const Json& variables) const {
  TemplateLimits limits = limits_;
  const std::size_t given = variables.dump(-1, ' ', false, Json::error_handler_t::replace).size();
  limits.steps += 200 * given;
  limits.memory_bytes += 200 * given;
  jinja::Machine machine(limits);
  const jinja::Text text = jinja::Interpreter(machine).run(*program_, variables);
  std::vector<TextPart> parts;
  for (std::size_t from = 0; from < text.bytes.size();) {
    const std::size_t to = std::min(text.typed.find(text.typed[from] ? '\0' : '\1', from), text.bytes.size());
    parts.push_back({text.bytes.substr(from, to - from), text.typed[from] != 0});
    from = to;
  }
  return parts;
}

}  // namespace cai
