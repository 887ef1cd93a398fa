// Merging bytes or characters into tokens by rank.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cai/io/json.hpp"
#include "cai/text/added_tokens.hpp"
#include "cai/text/normalizer.hpp"
#include "cai/text/pre_tokenizer.hpp"
#include "cai/text/tokenizer.hpp"

namespace cai {

struct Merge {
  int rank, result;
};

inline std::uint64_t pair_key(int a, int b) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(a)) << 32 | static_cast<std::uint32_t>(b);
}

/// The tables of a tokenizer, filled by a reader (bpe.cpp), and merging by them. Byte-level BPE begins with
/// bytes; BPE of sentencepiece begins with characters, and spells those that it does not know in bytes
/// (<0x41>).
class Bpe : public Tokenizer {
 public:
  std::vector<std::string> bytes;   // [id], what a token stands for; control tokens hold their name
  std::vector<char> is_control_id;  // [id]
  std::unordered_map<std::string, int>
      by_text;  // ordinary tokens by what they stand for; characters: as the file spells them
  std::unordered_map<std::uint64_t, Merge> merges;
  std::vector<AddedToken> added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  bool ignore_merges = false, add_bos = false;
  bool byte_fallback = false, fuse_unknown = false;  // of characters
  bool strips_space = false;                         // decode() drops one space that a text begins with
  std::optional<int> bos_id, eos_id, unknown_id;
  std::vector<int> ends;  // of the file, beside eos
  std::string template_text;
  std::function<SortedJson()> json;  // tokenizer.json as read, or built, for save()
  Json config;

  void finish();  ///< when all tables are filled
  std::vector<int> encode(std::string_view raw) const override { return encode_at(raw, true); }
  std::vector<int> encode_behind(std::string_view raw) const override { return encode_at(raw, false); }
  std::string decode(std::span<const int> tokens) const override;
  std::optional<int> control(std::string_view name) const override;
  bool is_control(int t) const override {
    return t >= 0 && t < vocabulary() && is_control_id[static_cast<std::size_t>(t)];
  }
  std::vector<AddedToken> controls() const override;
  std::map<std::string, std::string> named_tokens() const override;
  int vocabulary() const override { return static_cast<int>(bytes.size()); }
  std::optional<int> bos() const override { return bos_id; }
  std::optional<int> eos() const override { return eos_id; }
  std::vector<int> other_ends() const override { return ends; }
  bool adds_bos() const override { return add_bos; }
  std::string chat_template() const override { return template_text; }
  void save(const std::filesystem::path& folder) const override;

 private:
  struct Symbol {
    int id, previous, next;
  };

  int byte_ids_[256];  // the token of each byte, or -1
  AddedTokens in_raw_, in_normalised_;

  std::vector<int> encode_at(std::string_view raw, bool at_start) const;
  void encode_normalised(std::string_view text, bool at_start, std::vector<int>& out) const;
  void encode_plain(std::string_view text, bool at_start, std::vector<int>& out) const;
  std::vector<Symbol> symbols_of(std::string_view piece) const;
  void add_unknown(std::string_view character, std::vector<Symbol>& symbols) const;
  void merge(std::string_view piece, std::vector<int>& out) const;
};

}  // namespace cai
