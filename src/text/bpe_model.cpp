#include "cai/text/bpe_model.hpp"

#include <queue>

#include "cai/base/text.hpp"
#include "cai/io/file.hpp"

namespace cai {

void Bpe::finish() {
  for (int b = 0; b < 256; ++b) {
    const auto it = by_bytes.find(std::string(1, static_cast<char>(b)));
    byte_ids_[static_cast<std::size_t>(b)] = it == by_bytes.end() ? -1 : it->second;
  }
}

std::vector<int> Bpe::encode(std::string_view raw) const {
  const std::string text = is_utf8(raw) ? std::string(raw) : to_utf8(raw);
  std::vector<int> out;
  // Added tokens that are not special are part of plain text; special ones are never looked for.
  std::size_t from = 0;
  std::vector<std::size_t> next(added.size(), 0);  // where each stands next: a long text is searched once a token, not once a match
  while (from < text.size()) {
    std::size_t at = text.size();
    const AddedToken* found = nullptr;
    for (std::size_t k = 0; k < added.size(); ++k) {
      const AddedToken& t = added[k];
      if (t.special || t.content.empty()) continue;
      if (next[k] != text.npos && (next[k] < from || from == 0)) next[k] = text.find(t.content, from);
      const std::size_t p = next[k];
      if (p < at || (p == at && p != text.npos && found && t.content.size() > found->content.size())) at = p, found = &t;
    }
    encode_plain(std::string_view(text).substr(from, at - from), out);
    if (!found) break;
    out.push_back(found->id);
    from = at + found->content.size();
  }
  return out;
}

std::string Bpe::decode(std::span<const int> tokens) const {
  std::string out;
  for (int t : tokens)
    if (t >= 0 && t < vocabulary() && !controls[static_cast<std::size_t>(t)]) out += bytes[static_cast<std::size_t>(t)];
  return to_utf8(out);
}

std::optional<int> Bpe::control(std::string_view name) const {
  for (const AddedToken& t : added)
    if (t.content == name) return t.id;
  return std::nullopt;
}

void Bpe::save(const std::filesystem::path& folder) const {
  create_folders(folder);
  write_file(folder / "tokenizer.json", json().dump(1) + "\n");
  Json c = config;
  if (!c.contains("tokenizer_class")) c["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (!template_text.empty()) c["chat_template"] = template_text;
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

void Bpe::encode_plain(std::string_view text, std::vector<int>& out) const {
  if (text.empty()) return;
  std::string prefixed;
  if (prefix_space && text[0] != ' ') prefixed = " " + std::string(text), text = prefixed;
  std::vector<std::string_view> pieces = {text};
  for (const Regex& cut : cuts) {
    std::vector<std::string_view> next;
    for (const std::string_view piece : pieces)
      for (const std::string_view part : cut.pieces(piece)) next.push_back(part);
    pieces.swap(next);
  }
  for (const std::string_view piece : pieces) merge(piece, out);
}

// The pair of lowest rank merges first, the leftmost among equals. Symbols are a linked list and pairs a heap, so a piece of n bytes
// takes n log n steps however long it is.
void Bpe::merge(std::string_view piece, std::vector<int>& out) const {
  if (ignore_merges) {
    if (const auto it = by_bytes.find(std::string(piece)); it != by_bytes.end()) return out.push_back(it->second);
  }
  struct Symbol { int id, previous, next; };
  std::vector<Symbol> symbols;
  for (const char c : piece) {
    const int id = byte_ids_[static_cast<unsigned char>(c)];
    if (id < 0) continue;  // an alphabet without this byte has no token for it
    const int at = static_cast<int>(symbols.size());
    symbols.push_back({id, at - 1, at + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;
  struct Candidate {
    int rank, left, left_id, right_id;
    bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : left > o.left; }
  };
  std::priority_queue<Candidate> queue;
  const auto consider = [&](int left) {
    const int right = left < 0 ? -1 : symbols[static_cast<std::size_t>(left)].next;
    if (right < 0) return;
    const int a = symbols[static_cast<std::size_t>(left)].id, b = symbols[static_cast<std::size_t>(right)].id;
    if (const auto it = merges.find(pair_key(a, b)); it != merges.end()) queue.push({it->second.rank, left, a, b});
  };
  for (int i = 0; i + 1 < static_cast<int>(symbols.size()); ++i) consider(i);
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<std::size_t>(c.left)];
    if (left.id != c.left_id || left.next < 0 || symbols[static_cast<std::size_t>(left.next)].id != c.right_id) continue;  // out of date
    Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    left.id = merges.at(pair_key(c.left_id, c.right_id)).result;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = c.left;
    consider(left.previous);
    consider(c.left);
  }
  for (int i = 0; i >= 0; i = symbols[static_cast<std::size_t>(i)].next) out.push_back(symbols[static_cast<std::size_t>(i)].id);
}

}  // namespace cai
