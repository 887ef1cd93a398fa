// Running a Jinja template.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "cai/text/jinja_value.hpp"

namespace cai::jinja {

struct Scope {
  std::map<std::string, Value> variables;
  Scope* parent = nullptr;

  const Value* find(const std::string& name) const;
};

class Interpreter {
 public:
  explicit Interpreter(Machine& machine);

  Text run(const Node& program, const Json& variables);

 private:
  enum class Flow { kOn, kBreak, kContinue };

  Machine& machine_;
  std::deque<Scope> scopes_;
  Text* out_ = nullptr;
  int depth_ = 0;

  Scope* inner(Scope* scope);
  void write(const Text& text);

  // statements (jinja_run.cpp)
  Flow execute(const Node& node, Scope* scope);
  Flow execute_all(const Node& body, Scope* scope);
  Flow execute_if(const Node& node, Scope* scope);
  Flow execute_for(const Node& node, Scope* scope);
  void execute_set(const Node& node, Scope* scope);
  void assign(const Node& node, const std::vector<std::string>& names, const Value& value, Scope* scope);
  Value captured(const Node& body, Scope* scope);
  Value macro(const Node& node, Scope* scope, std::size_t parameters);
  Value loop(const std::vector<Value>& items, std::size_t i);
  void add_globals(Scope& scope);

  // expressions (jinja_expressions.cpp)
  Value evaluate(const Node& node, Scope* scope);
  Value evaluate_kind(const Node& node, Scope* scope);
  Value collection(const Node& node, Scope* scope);
  Value attribute(const Node& node, Scope* scope);
  Value item(const Node& node, Scope* scope);
  Value slice(const Node& node, Scope* scope);
  Value call(const Node& node, Scope* scope);
  Value filtered(const Node& node, Scope* scope);
  Value binary(const Node& node, Scope* scope);
  Value arithmetic(const std::string& operation, const Value& a, const Value& b);
  Value repeated(const Value& what, std::int64_t times);
  bool compared(const std::string& operation, const Value& a, const Value& b);
  Value comparison(const Node& node, Scope* scope);
  Arguments arguments(const Node& node, std::size_t first, Scope* scope);
};

}  // namespace cai::jinja
