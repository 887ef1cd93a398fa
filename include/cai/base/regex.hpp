// A PCRE2 pattern, compiled with JIT in UTF mode: it cuts text into pieces, or tells whether a text has a
// match.
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
  enum class Case { kSensitive, kIgnored };

  /// Throws InputError with PCRE2's message when the pattern does not compile.
  explicit Regex(const std::string& pattern, Case letters = Case::kSensitive);

  /// The text cut at every match: matches and what lies between them, in order, nothing lost. `text` must be
  /// valid UTF-8. Throws InputError when PCRE2 gives up.
  std::vector<Piece> cut(std::string_view text) const;

  /// The matches alone, in order; empty matches are left out.
  std::vector<std::string_view> all(std::string_view text) const;

  /// Whether the pattern matches anywhere in `text`, which must be valid UTF-8. A match that would take more
  /// than PCRE2's own limit of steps throws InputError: a pattern of catastrophic backtracking ends with an
  /// error and not never.
  bool matches(std::string_view text) const;

 private:
  struct Compiled;
  std::shared_ptr<Compiled> compiled_;
};

}  // namespace cai
