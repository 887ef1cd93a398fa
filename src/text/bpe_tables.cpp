#include "cai/text/bpe_tables.hpp"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

// GPT-2's alphabet: each byte as a printable character; bytes that print stand for themselves, the others
// follow from U+0100 on.
const std::vector<std::uint32_t>& byte_characters() {
  static const std::vector<std::uint32_t> table = [] {
    std::vector<std::uint32_t> t(256, 0);
    std::uint32_t next = 256;
    for (std::uint32_t b = 0; b < 256; ++b) {
      const bool prints = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae);
      t[b] = prints ? b : next++;
    }
    return t;
  }();
  return table;
}

// The bytes that a token of the alphabet stands for; nothing for a text outside the alphabet (an added
// token).
std::optional<std::string> to_bytes(const std::string& characters) {
  static const std::unordered_map<std::uint32_t, char> inverse = [] {
    std::unordered_map<std::uint32_t, char> m;
    for (std::uint32_t b = 0; b < 256; ++b)
      m[byte_characters()[b]] = static_cast<char>(b);
    return m;
  }();
  std::string out;
  for (std::size_t i = 0; i < characters.size();) {
    const unsigned char b = static_cast<unsigned char>(characters[i]);
    std::uint32_t c = b;
    std::size_t n = 1;
    if (b >= 0xe0) return std::nullopt;
    if (b >= 0xc0) {
      if (i + 1 >= characters.size()) return std::nullopt;
      c = (b & 31u) << 6 | (static_cast<unsigned char>(characters[i + 1]) & 63u), n = 2;
    }
    const auto it = inverse.find(c);
    if (it == inverse.end()) return std::nullopt;
    out += it->second;
    i += n;
  }
  return out;
}

// The byte that a token like "<0x0A>" stands for.
std::optional<std::string> spelled_byte(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  char* end = nullptr;
  const long byte = std::strtol(token.c_str() + 3, &end, 16);
  return end == token.c_str() + 5 ? std::optional(std::string(1, static_cast<char>(byte))) : std::nullopt;
}

// What a token of sentencepiece stands for in a text: U+2581 is a space.
std::string readable(const std::string& token) {
  const std::string mark = "\xe2\x96\x81";
  std::string out;
  std::size_t from = 0;
  for (std::size_t at; (at = token.find(mark, from)) != token.npos; from = at + mark.size())
    out.append(token, from, at - from).append(" ");
  return out.append(token, from);
}

void fill_token(Bpe& bpe, const std::string& token, int id, bool added) {
  std::string& stands_for = bpe.bytes[static_cast<std::size_t>(id)];
  stands_for = token;
  if (added) return;
  if (bpe.pre_tokenizer.byte_level()) {
    const std::optional<std::string> raw = to_bytes(token);
    if (!raw) return;
    stands_for = *raw;
    bpe.by_text.emplace(*raw, id);
    return;
  }
  const std::optional<std::string> byte = bpe.byte_fallback ? spelled_byte(token) : std::nullopt;
  stands_for = byte ? *byte : readable(token);
  bpe.by_text.emplace(token, id);
}

void fill_merges(Bpe& bpe, const std::vector<std::string>& tokens, const MergeList& merges,
                 const std::string& file) {
  std::unordered_map<std::string_view, int> ids;
  ids.reserve(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i)
    ids.emplace(tokens[i], static_cast<int>(i));
  bpe.merges.reserve(merges.size());
  int rank = 0;
  std::string both;
  for (const auto& [a, b] : merges) {
    both.assign(a).append(b);
    const auto left = ids.find(a), right = ids.find(b), result = ids.find(both);
    if (left == ids.end() || right == ids.end() || result == ids.end())
      throw InputError(file, 0,
                       "merge " + std::to_string(rank) + " (" + in_quotes(a) + " " + in_quotes(b) +
                           ") names a token that is not in the vocabulary");
    // The promise of encode(): whatever a text spells, it becomes no control token.
    if (bpe.is_control(result->second))
      throw InputError(file, 0,
                       "merge " + std::to_string(rank) + " makes the control token " +
                           in_quotes(result->first) + " out of text");
    bpe.merges.emplace(pair_key(left->second, right->second), Merge{rank++, result->second});
  }
}

}  // namespace

void fill_tables(Bpe& bpe, const std::vector<std::string>& tokens, const MergeList& merges,
                 const std::string& file) {
  std::set<int> added;
  for (const AddedToken& t : bpe.added)
    added.insert(t.id);
  bpe.bytes.resize(tokens.size());
  bpe.is_control_id.assign(tokens.size(), 0);
  bpe.by_text.reserve(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (!is_utf8(tokens[i])) throw InputError(file, 0, "token " + std::to_string(i) + " is not valid UTF-8");
    fill_token(bpe, tokens[i], static_cast<int>(i), added.count(static_cast<int>(i)) > 0);
  }
  for (const AddedToken& t : bpe.added)
    if (t.special) bpe.is_control_id[static_cast<std::size_t>(t.id)] = 1;
  fill_merges(bpe, tokens, merges, file);
}

std::pair<std::string, std::string> split_merge(const std::string& text, const std::string& file) {
  const std::size_t space = text.size() < 3 ? text.npos : text.find(' ', 1);
  if (space == text.npos)
    throw InputError(file, 0, "merge " + in_quotes(text) + " is not two tokens with a space between");
  return {text.substr(0, space), text.substr(space + 1)};
}

bool is_special_token(bool declared, const std::string& content) {
  const std::vector<std::string>& markers = chat_markers();
  return declared || std::find(markers.begin(), markers.end(), content) != markers.end();
}

}  // namespace cai
