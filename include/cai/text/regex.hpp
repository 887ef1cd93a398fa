// A PCRE2 pattern, compiled with JIT in UTF mode, that cuts text into pieces.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cai {

class Regex {
 public:
  /// Throws InputError with PCRE2's message when the pattern does not compile.
  explicit Regex(const std::string& pattern);

  /// The text cut at every match: matches and what lies between them, in order, nothing lost. `text` must be valid UTF-8.
  std::vector<std::string_view> pieces(std::string_view text) const;

 private:
  struct Compiled;
  std::shared_ptr<Compiled> compiled_;
};

}  // namespace cai
