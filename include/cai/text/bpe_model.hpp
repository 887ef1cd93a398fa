// Merging bytes into tokens by rank.
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
#include "cai/text/regex.hpp"
#include "cai/text/tokenizer.hpp"

namespace cai {

struct Merge { int rank, result; };

inline std::uint64_t pair_key(int a, int b) { return static_cast<std::uint64_t>(static_cast<std::uint32_t>(a)) << 32 | static_cast<std::uint32_t>(b); }

struct AddedToken {
  std::string content;
  int id;
  bool special;
};

/// The tables of a tokenizer, filled by a reader (bpe.cpp), and merging by them.
class Bpe : public Tokenizer {
 public:
  std::vector<std::string> bytes;                     // [id], of ordinary tokens; control tokens hold their name
  std::vector<char> controls;                         // [id]
  std::unordered_map<std::string, int> by_bytes;      // ordinary tokens
  std::unordered_map<std::uint64_t, Merge> merges;
  std::vector<AddedToken> added;
  std::vector<Regex> cuts;                            // applied one after the other
  bool ignore_merges = false, add_bos = false, prefix_space = false;
  std::optional<int> bos_id, eos_id;
  std::string template_text;
  std::function<SortedJson()> json;                   // tokenizer.json as read, or built, for save()
  Json config;

  void finish();  ///< when all tables are filled
  std::vector<int> encode(std::string_view raw) const override;
  std::string decode(std::span<const int> tokens) const override;
  std::optional<int> control(std::string_view name) const override;
  bool is_control(int t) const override { return t >= 0 && t < vocabulary() && controls[static_cast<std::size_t>(t)]; }
  int vocabulary() const override { return static_cast<int>(bytes.size()); }
  std::optional<int> bos() const override { return bos_id; }
  std::optional<int> eos() const override { return eos_id; }
  bool adds_bos() const override { return add_bos; }
  std::string chat_template() const override { return template_text; }
  void save(const std::filesystem::path& folder) const override;

 private:
  int byte_ids_[256];

  void encode_plain(std::string_view text, std::vector<int>& out) const;
  void merge(std::string_view piece, std::vector<int>& out) const;
};

}  // namespace cai
