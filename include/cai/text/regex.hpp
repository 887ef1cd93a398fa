// A PCRE2 pattern, compiled with JIT in UTF mode, that cuts text into pieces.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cai {

/// A stretch of a text: one match, or what lies between two.
struct Piece {
  std::string_view text;
  bool matches;
};

class Regex {
 public:
  /// Throws InputError with PCRE2's message when the pattern does not compile.
  explicit Regex(const std::string& pattern);

  /// The text cut at every match: matches and what lies between them, in order, nothing lost. `text` must be valid UTF-8.
  /// Throws InputError when PCRE2 gives up.
  std::vector<Piece> cut(std::string_view text) const;

 private:
  struct Compiled;
  std::shared_ptr<Compiled> compiled_;
};

}  // namespace cai
