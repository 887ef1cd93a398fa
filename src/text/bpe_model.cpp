#include "cai/text/bpe_model.hpp"

#include <algorithm>
#include <cstdio>
#include <queue>

#include "cai/base/text.hpp"
#include "cai/base/unicode.hpp"
#include "cai/io/file.hpp"
#include "cai/text/bpe.hpp"

namespace cai {

void Bpe::finish() {
  const auto id_of = [&](const std::string& text) {
    const auto it = by_text.find(text);
    return it == by_text.end() ? -1 : it->second;
  };
  for (int b = 0; b < 256; ++b) {
    char spelled[8];
    std::snprintf(spelled, sizeof spelled, "<0x%02X>", static_cast<unsigned>(b));
    byte_ids_[b] = id_of(pre_tokenizer.byte_level() ? std::string(1, static_cast<char>(b)) : spelled);
  }
  std::vector<AddedToken> raw, behind;
  for (const AddedToken& token : added)
    if (!token.special) (token.normalized ? behind : raw).push_back(token);
  // What is looked up behind the normaliser is normalised itself.
  for (AddedToken& token : behind)
    token.content = normalizer(token.content);
  in_raw_ = AddedTokens(std::move(raw));
  in_normalised_ = AddedTokens(std::move(behind));
}

// Added tokens that are not special are part of plain text; special ones are never looked for.
std::vector<int> Bpe::encode_at(std::string_view raw, bool at_start) const {
  const std::string text = is_utf8(raw) ? std::string(raw) : to_utf8(raw);
  std::vector<int> out;
  const auto any = [](std::size_t, std::size_t) { return true; };
  in_raw_.split(
      text, any,
      [&](std::string_view part, std::size_t from) { encode_normalised(part, at_start && from == 0, out); },
      [&](const AddedToken& token) { out.push_back(token.id); });
  return out;
}

void Bpe::encode_normalised(std::string_view raw, bool at_start, std::vector<int>& out) const {
  const std::string text = normalizer(raw);
  const auto any = [](std::size_t, std::size_t) { return true; };
  in_normalised_.split(
      text, any,
      [&](std::string_view part, std::size_t from) { encode_plain(part, at_start && from == 0, out); },
      [&](const AddedToken& token) { out.push_back(token.id); });
}

std::string Bpe::decode(std::span<const int> tokens) const {
  std::string out;
  for (int t : tokens)
    if (t >= 0 && t < vocabulary() && !is_control(t)) out += bytes[static_cast<std::size_t>(t)];
  if (strips_space && out.starts_with(' ')) out.erase(0, 1);
  return to_utf8(out);
}

std::optional<int> Bpe::control(std::string_view name) const {
  for (const AddedToken& t : added)
    if (t.content == name) return t.id;
  return std::nullopt;
}

std::vector<AddedToken> Bpe::controls() const {
  std::vector<AddedToken> out;
  for (const AddedToken& t : added)
    if (t.special) out.push_back(t);
  return out;
}

std::map<std::string, std::string> Bpe::named_tokens() const {
  return named_tokens_of(config);
}

void Bpe::save(const std::filesystem::path& folder) const {
  create_folders(folder);
  write_file(folder / "tokenizer.json", json().dump(1) + "\n");
  Json c = config;
  if (!c.contains("tokenizer_class")) c["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (!template_text.empty() && !c.contains("chat_template"))
    c["chat_template"] = template_text;  // a list of templates stays one
  write_file(folder / "tokenizer_config.json", c.dump(2) + "\n");
  Json map = Json::object();
  for (const char* name : {"bos_token", "eos_token", "unk_token", "pad_token"})
    if (c.contains(name) && !c[name].is_null()) map[name] = c[name];
  write_file(folder / "special_tokens_map.json", map.dump(2) + "\n");
  Json generation = Json::object();
  if (bos_id) generation["bos_token_id"] = *bos_id;
  if (eos_id) generation["eos_token_id"] = *eos_id;
  write_file(folder / "generation_config.json", generation.dump(2) + "\n");
}

void Bpe::encode_plain(std::string_view text, bool at_start, std::vector<int>& out) const {
  const Pieces pieces = pre_tokenizer.cut(text, at_start);
  for (const std::string_view piece : pieces.all)
    merge(piece, out);
}

// An unknown character: its bytes where all of them have tokens, else the unknown token, once for a row of
// them where they fuse.
void Bpe::add_unknown(std::string_view character, std::vector<Symbol>& symbols) const {
  const auto add = [&](int id) {
    const int at = static_cast<int>(symbols.size());
    symbols.push_back({id, at - 1, at + 1});
  };
  const auto has_token = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)] >= 0; };
  if (byte_fallback && std::all_of(character.begin(), character.end(), has_token)) {
    for (const char byte : character)
      add(byte_ids_[static_cast<unsigned char>(byte)]);
  } else if (unknown_id && !(fuse_unknown && !symbols.empty() && symbols.back().id == *unknown_id)) {
    add(*unknown_id);
  }
}

std::vector<Bpe::Symbol> Bpe::symbols_of(std::string_view piece) const {
  std::vector<Symbol> symbols;
  for (std::size_t at = 0, size = 1; at < piece.size(); at += size) {
    int id = -1;
    if (pre_tokenizer.byte_level()) {
      id = byte_ids_[static_cast<unsigned char>(piece[at])];
    } else {
      character_at(piece, at, size);
      if (const auto it = by_text.find(std::string(piece.substr(at, size))); it != by_text.end())
        id = it->second;
      else
        add_unknown(piece.substr(at, size), symbols);
    }
    if (id < 0) continue;  // an alphabet without this byte has no token for it
    const int n = static_cast<int>(symbols.size());
    symbols.push_back({id, n - 1, n + 1});
  }
  if (!symbols.empty()) symbols.back().next = -1;
  return symbols;
}

// The pair of lowest rank merges first, the leftmost among equals. Symbols are a linked list and pairs a
// heap, so a piece of n bytes takes n log n steps however long it is.
void Bpe::merge(std::string_view piece, std::vector<int>& out) const {
  if (ignore_merges) {
    if (const auto it = by_text.find(std::string(piece)); it != by_text.end())
      return out.push_back(it->second);
  }
  std::vector<Symbol> symbols = symbols_of(piece);
  if (symbols.empty()) return;
  struct Candidate {
    int rank, left, left_id, right_id;
    bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : left > o.left; }
  };
  std::priority_queue<Candidate> queue;
  const auto consider = [&](int left) {
    const int right = left < 0 ? -1 : symbols[static_cast<std::size_t>(left)].next;
    if (right < 0) return;
    const int a = symbols[static_cast<std::size_t>(left)].id, b = symbols[static_cast<std::size_t>(right)].id;
    if (const auto it = merges.find(pair_key(a, b)); it != merges.end())
      queue.push({it->second.rank, left, a, b});
  };
  for (int i = 0; i + 1 < static_cast<int>(symbols.size()); ++i)
    consider(i);
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<std::size_t>(c.left)];
    if (left.id != c.left_id || left.next < 0 ||
        symbols[static_cast<std::size_t>(left.next)].id != c.right_id)
      continue;  // out of date
    Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    left.id = merges.at(pair_key(c.left_id, c.right_id)).result;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = c.left;
    consider(left.previous);
    consider(c.left);
  }
  for (int i = 0; i >= 0; i = symbols[static_cast<std::size_t>(i)].next)
    out.push_back(symbols[static_cast<std::size_t>(i)].id);
}

}  // namespace cai
