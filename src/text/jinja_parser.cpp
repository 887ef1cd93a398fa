#include <algorithm>
#include <cstdlib>

#include "cai/base/text.hpp"
#include "cai/text/jinja_ast.hpp"

namespace cai::jinja {
namespace {

class Parser {
 public:
  explicit Parser(const std::string& source) : tokens_(tokens_of(source)) {}

  NodePtr program() { return body({}); }

 private:
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;

  // Counts how deep calls nest, for as long as it lives.
  struct Deeper {
    int& depth;
    Deeper(int& d, long line) : depth(++d) {
      if (depth > 100) fail(line, "nested too deeply");
    }
    ~Deeper() { --depth; }
  };

  const Token& now() const { return tokens_[at_]; }
  const Token& next(std::size_t n = 1) const { return tokens_[std::min(at_ + n, tokens_.size() - 1)]; }
  bool is(TokenKind kind, const char* text) const { return now().kind == kind && now().text == text; }
  bool is_operator(const char* text) const { return is(TokenKind::kOperator, text); }
  bool is_name(const char* text) const { return is(TokenKind::kName, text); }
  bool take(TokenKind kind, const char* text) { return is(kind, text) && ++at_; }
  bool take_operator(const char* text) { return take(TokenKind::kOperator, text); }
  bool take_name(const char* text) { return take(TokenKind::kName, text); }

  [[noreturn]] void unexpected(const std::string& wanted) const {
    fail(now().line,
         (now().text.empty() ? "the end" : in_quotes(now().text)) + " where " + wanted + " should be");
  }
  void need_operator(const char* text) {
    if (!take_operator(text)) unexpected(in_quotes(text));
  }
  void close() {
    if (!take(TokenKind::kClose, "%}")) unexpected("\"%}\"");
  }
  std::string name() {
    if (now().kind != TokenKind::kName) unexpected("a name");
    return tokens_[at_++].text;
  }

  template <class... Children>
  NodePtr node(NodeKind kind, std::string name = "", Children&&... children) {
    auto made = std::make_unique<Node>();
    made->kind = kind, made->line = now().line, made->name = std::move(name);
    (add(*made, std::forward<Children>(children)), ...);
    return made;
  }
  void add(Node& parent, NodePtr child) {
    if (child) parent.depth = std::max(parent.depth, child->depth + 1);
    if (parent.depth > kMaxTreeDepth) fail(parent.line, "nested too deeply, or too many operators in a row");
    parent.children.push_back(std::move(child));
  }

  // Statements up to one of `ends`, which is left open: its name is the current token.
  NodePtr body(const std::vector<const char*>& ends) {
    const Deeper deeper(depth_, now().line);
    NodePtr all = node(NodeKind::kBody);
    while (now().kind != TokenKind::kEnd) {
      if (now().kind == TokenKind::kData) {
        add(*all, node(NodeKind::kData, now().text));
        ++at_;
      } else if (take(TokenKind::kOpen, "{{")) {
        add(*all, node(NodeKind::kOutput, "", tuple(true)));
        if (!take(TokenKind::kClose, "}}")) unexpected("\"}}\"");
      } else {
        ++at_;  // {%
        if (std::any_of(ends.begin(), ends.end(), [&](const char* end) { return is_name(end); })) return all;
        add(*all, statement());
      }
    }
    if (!ends.empty()) fail(now().line, std::string("{% ") + ends.back() + " %} is missing");
    return all;
  }

  NodePtr closed_body(const char* end) {
    NodePtr inner = body({end});
    ++at_;
    close();
    return inner;
  }

  NodePtr statement() {
    const long line = now().line;
    const std::string what = name();
    if (what == "if") return if_statement();
    if (what == "for") return for_statement();
    if (what == "set") return set_statement();
    if (what == "macro") return macro();
    if (what == "call") return call_block();
    if (what == "filter") return filter_block();
    if (what == "with") return with_block();
    if (what == "generation") return close(), closed_body("endgeneration");
    if (what == "break" || what == "continue") {
      NodePtr made = node(what == "break" ? NodeKind::kBreak : NodeKind::kContinue);
      return close(), std::move(made);
    }
    fail(line, "the statement " + in_quotes(what) +
                   "; accepted: if, for, set, macro, call, filter, with, generation, break, continue, raw");
  }

  // Children: condition, body, condition, body, ... and the body of else.
  NodePtr if_statement() {
    NodePtr made = node(NodeKind::kIf);
    while (true) {
      add(*made, tuple(true));
      close();
      add(*made, body({"elif", "else", "endif"}));
      if (take_name("elif")) continue;
      const bool otherwise = take_name("else");
      if (otherwise) close(), add(*made, body({"endif"}));
      ++at_;
      close();
      return made;
    }
  }

  // names: the loop's variables. Children: what is gone through, the condition or null, the body, the body of
  // else or null.
  NodePtr for_statement() {
    NodePtr made = node(NodeKind::kFor);
    made->names = targets();
    if (!take_name("in")) unexpected("\"in\"");
    add(*made, tuple(false));
    add(*made, take_name("if") ? ternary() : nullptr);
    if (is_name("recursive")) fail(now().line, "a recursive loop; accepted: loops that are not");
    close();
    add(*made, body({"else", "endfor"}));
    const bool otherwise = take_name("else");
    if (otherwise) close();
    add(*made, otherwise ? body({"endfor"}) : nullptr);
    ++at_;
    close();
    return made;
  }

  std::vector<std::string> targets() {
    const bool in_brackets = take_operator("(");
    std::vector<std::string> names = {name()};
    while (take_operator(","))
      names.push_back(name());
    if (in_brackets) need_operator(")");
    return names;
  }

  // name: the attribute of a namespace, or "".
  NodePtr set_statement() {
    NodePtr made = node(NodeKind::kSet);
    made->names = targets();
    if (take_operator(".")) made->name = name();
    if (take_operator("=")) {
      add(*made, tuple(true));
      close();
      return made;
    }
    made->kind = NodeKind::kSetBlock;
    NodePtr filters = filters_of(nullptr);
    close();
    add(*made, closed_body("endset"));
    add(*made, std::move(filters));
    return made;
  }

  // names: parameters. Children: the body, then the default of each parameter or null.
  void parameters(Node& made) {
    std::vector<NodePtr> defaults;
    while (!take_operator(")")) {
      if (!made.names.empty()) need_operator(",");
      made.names.push_back(name());
      defaults.push_back(take_operator("=") ? ternary() : nullptr);
    }
    close();
    add(made, closed_body(made.kind == NodeKind::kMacro ? "endmacro" : "endcall"));
    for (NodePtr& one : defaults)
      add(made, std::move(one));
  }

  NodePtr macro() {
    NodePtr made = node(NodeKind::kMacro, name());
    need_operator("(");
    parameters(*made);
    return made;
  }

  // As a macro; the last child is the call.
  NodePtr call_block() {
    NodePtr made = node(NodeKind::kCallBlock);
    std::vector<NodePtr> defaults;
    if (take_operator("(")) {
      while (!take_operator(")")) {
        if (!made->names.empty()) need_operator(",");
        made->names.push_back(name());
        defaults.push_back(take_operator("=") ? ternary() : nullptr);
      }
    }
    NodePtr call = ternary();
    if (call->kind != NodeKind::kCall) fail(call->line, "{% call %} needs a call of a macro");
    close();
    add(*made, closed_body("endcall"));
    for (NodePtr& one : defaults)
      add(*made, std::move(one));
    add(*made, std::move(call));
    return made;
  }

  NodePtr filter_block() {
    NodePtr made = node(NodeKind::kFilterBlock);
    NodePtr filters = filter(nullptr);
    filters = filters_of(std::move(filters));
    close();
    add(*made, closed_body("endfilter"));
    add(*made, std::move(filters));
    return made;
  }

  NodePtr with_block() {
    NodePtr made = node(NodeKind::kWith);
    std::vector<NodePtr> values;
    while (!is(TokenKind::kClose, "%}")) {
      if (!values.empty()) need_operator(",");
      made->names.push_back(name());
      need_operator("=");
      values.push_back(ternary());
    }
    close();
    add(*made, closed_body("endwith"));
    for (NodePtr& value : values)
      add(*made, std::move(value));
    return made;
  }

  // "a, b" without brackets is a tuple.
  NodePtr tuple(bool with_condition) {
    NodePtr first = with_condition ? ternary() : disjunction();
    if (!is_operator(",")) return first;
    NodePtr made = node(NodeKind::kTuple, "", std::move(first));
    while (take_operator(",") && now().kind != TokenKind::kClose)
      add(*made, with_condition ? ternary() : disjunction());
    return made;
  }

  // Children: the value, the condition, the other value or null.
  NodePtr ternary() {
    const Deeper deeper(depth_, now().line);
    NodePtr value = disjunction();
    while (take_name("if")) {
      NodePtr condition = disjunction();
      value = node(NodeKind::kTernary, "", std::move(value), std::move(condition),
                   take_name("else") ? ternary() : nullptr);
    }
    return value;
  }

  NodePtr disjunction() {
    NodePtr left = conjunction();
    while (take_name("or"))
      left = node(NodeKind::kOr, "", std::move(left), conjunction());
    return left;
  }
  NodePtr conjunction() {
    NodePtr left = negation();
    while (take_name("and"))
      left = node(NodeKind::kAnd, "", std::move(left), negation());
    return left;
  }
  NodePtr negation() {
    const Deeper deeper(depth_, now().line);
    if (take_name("not")) return node(NodeKind::kNot, "", negation());
    return comparison();
  }

  // names: the operators; children: what stands between them.
  NodePtr comparison() {
    NodePtr first = sum();
    NodePtr made;
    while (true) {
      std::string found;
      for (const char* one : {"==", "!=", "<=", ">=", "<", ">"})
        if (found.empty() && take_operator(one)) found = one;
      if (found.empty() && take_name("in")) found = "in";
      if (found.empty() && is_name("not") && next().kind == TokenKind::kName && next().text == "in")
        at_ += 2, found = "not in";
      if (found.empty()) return made ? std::move(made) : std::move(first);
      if (!made) made = node(NodeKind::kCompare, "", std::move(first));
      made->names.push_back(found);
      add(*made, sum());
    }
  }

  using Level = NodePtr (Parser::*)();
  NodePtr binary(Level operand, const std::vector<const char*>& operators) {
    NodePtr left = (this->*operand)();
    while (true) {
      const auto found =
          std::find_if(operators.begin(), operators.end(), [&](const char* one) { return is_operator(one); });
      if (found == operators.end()) return left;
      ++at_;
      NodePtr right = (this->*operand)();
      left = node(NodeKind::kBinary, *found, std::move(left), std::move(right));
    }
  }
  NodePtr sum() { return binary(&Parser::concatenation, {"+", "-"}); }
  NodePtr concatenation() { return binary(&Parser::product, {"~"}); }
  NodePtr product() { return binary(&Parser::power, {"*", "/", "//", "%"}); }
  NodePtr power() { return binary(&Parser::unary, {"**"}); }

  NodePtr unary() { return unary_of(true); }
  NodePtr unary_of(bool with_filters) {
    const Deeper deeper(depth_, now().line);
    NodePtr made;
    if (take_operator("-"))
      made = node(NodeKind::kUnary, "-", unary_of(false));
    else if (take_operator("+"))
      made = node(NodeKind::kUnary, "+", unary_of(false));
    else
      made = primary();
    made = postfix(std::move(made));
    return with_filters ? filters_of(std::move(made)) : std::move(made);
  }

  NodePtr primary() {
    const Token& token = now();
    switch (token.kind) {
      case TokenKind::kName: return name_or_constant();
      case TokenKind::kText: return text();
      case TokenKind::kInteger:
      case TokenKind::kReal: {
        NodePtr made = node(token.kind == TokenKind::kInteger ? NodeKind::kInteger : NodeKind::kReal);
        made->integer = std::strtoll(token.text.c_str(), nullptr, 10);
        made->real = std::strtod(token.text.c_str(), nullptr);
        ++at_;
        return made;
      }
      default: break;
    }
    if (take_operator("(")) return in_brackets();
    if (take_operator("[")) return items(node(NodeKind::kList), "]");
    if (take_operator("{")) return dict();
    unexpected("a value");
  }

  NodePtr name_or_constant() {
    const std::string found = name();
    if (found == "none" || found == "None") return node(NodeKind::kNone);
    if (found != "true" && found != "True" && found != "false" && found != "False")
      return node(NodeKind::kName, found);
    NodePtr made = node(NodeKind::kBool);
    made->integer = found == "true" || found == "True";
    return made;
  }

  NodePtr text() {
    NodePtr made = node(NodeKind::kText);
    while (now().kind == TokenKind::kText)
      made->name += tokens_[at_++].text;
    return made;
  }

  NodePtr in_brackets() {
    if (take_operator(")")) return node(NodeKind::kTuple);
    NodePtr first = ternary();
    if (take_operator(")")) return first;
    NodePtr made = node(NodeKind::kTuple, "", std::move(first));
    need_operator(",");
    return items(std::move(made), ")");
  }

  NodePtr items(NodePtr made, const char* end) {
    while (!take_operator(end)) {
      add(*made, ternary());
      if (!take_operator(",") && !is_operator(end)) unexpected(in_quotes(end));
    }
    return made;
  }

  // Children: key, value, key, value.
  NodePtr dict() {
    NodePtr made = node(NodeKind::kDict);
    while (!take_operator("}")) {
      add(*made, ternary());
      need_operator(":");
      add(*made, ternary());
      if (!take_operator(",") && !is_operator("}")) unexpected("\"}\"");
    }
    return made;
  }

  NodePtr postfix(NodePtr left) {
    while (true) {
      if (take_operator(".")) {
        if (now().kind != TokenKind::kName && now().kind != TokenKind::kInteger) unexpected("a name");
        left = node(NodeKind::kAttribute, tokens_[at_++].text, std::move(left));
      } else if (take_operator("[")) {
        left = subscript(std::move(left));
      } else if (take_operator("(")) {
        left = arguments(node(NodeKind::kCall, "", std::move(left)));
      } else {
        return left;
      }
    }
  }

  NodePtr subscript(NodePtr left) {
    NodePtr bounds[3];
    int n = 0;
    bool slice = false;
    while (!take_operator("]")) {
      if (take_operator(":"))
        slice = true, ++n;
      else if (n < 3 && !bounds[n])
        bounds[n] = ternary();
      else
        unexpected("\"]\"");
      if (n > 2) unexpected("\"]\"");
    }
    if (slice)
      return node(NodeKind::kSlice, "", std::move(left), std::move(bounds[0]), std::move(bounds[1]),
                  std::move(bounds[2]));
    if (!bounds[0]) unexpected("an index");
    return node(NodeKind::kItem, "", std::move(left), std::move(bounds[0]));
  }

  // Behind the first child: the arguments; names: of the last ones, which have names.
  NodePtr arguments(NodePtr made) {
    while (!take_operator(")")) {
      const bool named =
          now().kind == TokenKind::kName && next().kind == TokenKind::kOperator && next().text == "=";
      if (named)
        made->names.push_back(now().text), at_ += 2;
      else if (!made->names.empty())
        unexpected("a named argument");
      add(*made, ternary());
      if (!take_operator(",") && !is_operator(")")) unexpected("\")\"");
    }
    return made;
  }

  NodePtr filters_of(NodePtr left) {
    while (true) {
      if (take_operator("|"))
        left = filter(std::move(left));
      else if (take_name("is"))
        left = test(std::move(left));
      else
        return left;
    }
  }

  NodePtr filter(NodePtr operand) {
    NodePtr made = node(NodeKind::kFilter, name(), std::move(operand));
    return take_operator("(") ? arguments(std::move(made)) : std::move(made);
  }

  NodePtr test(NodePtr operand) {
    const bool negated = take_name("not");
    std::string found;
    for (const char* one : {"==", "!=", "<=", ">=", "<", ">"})
      if (found.empty() && take_operator(one)) found = one;
    if (found.empty()) found = name();
    NodePtr made = node(NodeKind::kTest, found, std::move(operand));
    if (take_operator("("))
      made = arguments(std::move(made));
    else if (begins_argument())
      add(*made, postfix(primary()));
    return negated ? node(NodeKind::kNot, "", std::move(made)) : std::move(made);
  }

  bool begins_argument() const {
    if (now().kind == TokenKind::kText || now().kind == TokenKind::kInteger || now().kind == TokenKind::kReal)
      return true;
    if (is_operator("[") || is_operator("{")) return true;
    return now().kind == TokenKind::kName && !is_name("else") && !is_name("or") && !is_name("and") &&
           !is_name("is") && !is_name("if") && !is_name("in") && !is_name("not");
  }
};

}  // namespace

NodePtr parse(const std::string& source) {
  return Parser(source).program();
}

}  // namespace cai::jinja
