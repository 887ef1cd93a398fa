// Cutting a text into pieces that no token crosses: a tokenizer.json's "pre_tokenizer".
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cai/io/json.hpp"
#include "cai/base/regex.hpp"

namespace cai {

/// What becomes of the matches of a pattern; the names are those of tokenizer.json.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Pieces in order. Those that are no part of the text as given are kept in `made`.
struct Pieces {
  std::vector<std::string_view> all;
  std::deque<std::string> made;
  bool at_start = true;  // whether the first piece begins the whole text
};

class PreTokenizer {
 public:
  /// The whole text is one piece.
  PreTokenizer() = default;

  /// Accepts null and the types Sequence, ByteLevel, Digits, Metaspace, Punctuation, Split, Whitespace,
  /// WhitespaceSplit. Throws InputError that names any other, or a pattern that does not compile.
  static PreTokenizer from_json(const SortedJson& json, const std::string& file);

  /// Whether what comes out is meant in bytes (GPT-2's alphabet).
  bool byte_level() const { return byte_level_; }

  /// `text`: valid UTF-8, and longer-lived than the result.
  Pieces cut(std::string_view text, bool at_start) const;

 private:
  std::vector<std::function<void(Pieces&)>> steps_;
  bool byte_level_ = false;

  void add(const SortedJson& json, const std::string& file);
  void add_split(const Regex& pattern, SplitBehavior behavior, bool invert);
  void add_byte_level(const SortedJson& json);
  void add_metaspace(const SortedJson& json, const std::string& file);
};

/// The pre_tokenizer, normalizer and ignore_merges that a GGUF file's tokenizer.ggml.pre stands for.
struct NamedPre {
  SortedJson pre_tokenizer, normalizer;
  bool ignore_merges = false;
};

/// Throws InputError that lists the accepted names.
NamedPre pre_of_name(const std::string& name, const std::string& file);

/// The reverse, of a tokenizer.json; "" where no name stands for its pre_tokenizer. May throw
/// SortedJson::exception.
std::string name_of_pre(const SortedJson& tokenizer);

}  // namespace cai
