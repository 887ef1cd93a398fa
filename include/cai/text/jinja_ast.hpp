// The syntax tree of a Jinja template.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace cai::jinja {

enum class NodeKind {
  // expressions
  kText,
  kInteger,
  kReal,
  kBool,
  kNone,
  kName,
  kList,
  kTuple,
  kDict,
  kAttribute,
  kItem,
  kSlice,
  kCall,
  kFilter,
  kTest,
  kUnary,
  kBinary,
  kCompare,
  kAnd,
  kOr,
  kNot,
  kTernary,
  // statements
  kData,
  kOutput,
  kBody,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kWith,
  kBreak,
  kContinue
};

struct Node;
using NodePtr = std::unique_ptr<Node>;

/// One kind of node for all: `name` and `names` are operators, identifiers or names of arguments, as `kind`
/// needs them. An empty child (null) stands for a part that was left out.
struct Node {
  NodeKind kind = NodeKind::kNone;
  long line = 0;
  int depth = 1;
  std::string name;
  std::vector<std::string> names;
  std::vector<NodePtr> children;
  std::int64_t integer = 0;
  double real = 0;
};

/// No tree is deeper, so that walking and deleting one needs little of the stack.
constexpr int kMaxTreeDepth = 400;

enum class TokenKind { kData, kOpen, kClose, kName, kText, kInteger, kReal, kOperator, kEnd };

struct Token {
  TokenKind kind;
  std::string text;  // kOpen: "{%" or "{{"; kClose: "%}" or "}}"
  long line;
};

/// White space control applied, comments gone. Throws InputError with the line.
std::vector<Token> tokens_of(const std::string& source);

/// Throws InputError with the line.
NodePtr parse(const std::string& source);

[[noreturn]] void fail(long line, const std::string& what);

}  // namespace cai::jinja
