// Looking up added tokens in a text.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "cai/text/tokenizer.hpp"

namespace cai {

class AddedTokens {
 public:
  /// Keeps copies. Tokens without content are left out.
  explicit AddedTokens(std::vector<AddedToken> tokens = {});

  bool empty() const { return tokens_.empty(); }

  /// Goes through `text` (valid UTF-8) from left to right, the longest token first where several begin:
  /// `plain` is given what lies between two tokens (never empty) and where it begins, `found` each token.
  /// `usable(from, to)`: whether a token may be made of these bytes.
  void split(std::string_view text, const std::function<bool(std::size_t, std::size_t)>& usable,
             const std::function<void(std::string_view, std::size_t)>& plain,
             const std::function<void(const AddedToken&)>& found) const;

 private:
  std::vector<AddedToken> tokens_;
  std::vector<std::size_t> by_first_byte_[256];  // longest first

  const AddedToken* match(std::string_view text, std::size_t at,
                          const std::function<bool(std::size_t, std::size_t)>& usable) const;
};

}  // namespace cai
