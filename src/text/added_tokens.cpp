#include "cai/text/added_tokens.hpp"

#include <algorithm>

#include "cai/base/unicode.hpp"

namespace cai {
namespace {

bool continues(std::string_view text, std::size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
}

std::size_t start_of_character_before(std::string_view text, std::size_t at) {
  do
    --at;
  while (at > 0 && continues(text, at));
  return at;
}

bool touches_a_word(std::string_view text, std::size_t from, std::size_t to) {
  std::size_t size = 0;
  if (from > 0 && is_word_character(character_at(text, start_of_character_before(text, from), size)))
    return true;
  return to < text.size() && is_word_character(character_at(text, to, size));
}

std::size_t before_space(std::string_view text, std::size_t from, std::size_t least) {
  for (std::size_t size = 0; from > least; from = start_of_character_before(text, from))
    if (!is_white_space(character_at(text, start_of_character_before(text, from), size))) break;
  return from;
}

std::size_t behind_space(std::string_view text, std::size_t to) {
  for (std::size_t size = 0; to < text.size() && is_white_space(character_at(text, to, size));)
    to += size;
  return to;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  for (std::size_t i = 0; i < tokens_.size(); ++i)
    by_first_byte_[static_cast<unsigned char>(tokens_[i].content[0])].push_back(i);
  for (std::vector<std::size_t>& bucket : by_first_byte_)
    std::stable_sort(bucket.begin(), bucket.end(), [&](std::size_t a, std::size_t b) {
      return tokens_[a].content.size() > tokens_[b].content.size();
    });
}

const AddedToken* AddedTokens::match(std::string_view text, std::size_t at,
                                     const std::function<bool(std::size_t, std::size_t)>& usable) const {
  for (const std::size_t i : by_first_byte_[static_cast<unsigned char>(text[at])]) {
    const AddedToken& token = tokens_[i];
    const std::size_t end = at + token.content.size();
    if (text.compare(at, token.content.size(), token.content) != 0 || !usable(at, end)) continue;
    if (!token.single_word || !touches_a_word(text, at, end)) return &token;
  }
  return nullptr;
}

void AddedTokens::split(std::string_view text, const std::function<bool(std::size_t, std::size_t)>& usable,
                        const std::function<void(std::string_view, std::size_t)>& plain,
                        const std::function<void(const AddedToken&)>& found) const {
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const AddedToken* token = match(text, at, usable);
    if (!token) {
      ++at;
      continue;
    }
    const std::size_t from = token->lstrip ? before_space(text, at, done) : at;
    if (from > done) plain(text.substr(done, from - done), done);
    found(*token);
    at += token->content.size();
    done = token->rstrip
               ? behind_space(text, at)
               : at;  // a token of white space is found in there all the same, as the reference does
  }
  if (done < text.size()) plain(text.substr(done), done);
}

}  // namespace cai
