#include "cai/text/pre_tokenizer.hpp"

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/base/unicode.hpp"

namespace cai {
namespace {

// \w as the tokenizers library means it: letters, marks, decimal digits, connectors, the numbers of Latin-1.
// PCRE2 10.42 leaves marks out and takes other numbers.
std::string with_word_characters(const std::string& pattern) {
  const std::string word = "\\p{L}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) {
      const char c = pattern[++i];
      if (c == 'w')
        out += in_class ? word : "[" + word + "]";
      else if (c == 'W' && !in_class)
        out += "[^" + word + "]";
      else
        out += {'\\', c};
      continue;
    }
    const bool opens = pattern[i] == '[' && !in_class;
    if (opens)
      in_class = true;
    else if (pattern[i] == ']' && in_class)
      in_class = false;
    out += pattern[i];
    if (!opens) continue;
    if (i + 1 < pattern.size() && pattern[i + 1] == '^') out += pattern[++i];
    if (i + 1 < pattern.size() && pattern[i + 1] == ']')
      out += pattern[++i];  // the first one in a class means itself
  }
  return out;
}

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kPunctuation = R"([!-/:-@\[-`{-~\p{P}])";

SplitBehavior behavior_of(const std::string& name, const std::string& file) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  throw InputError(file, 0,
                   "pre-tokeniser behavior " + in_quotes(name) +
                       "; accepted: Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
}

std::string_view joined(std::string_view a, std::string_view b) {
  return {a.data(), a.size() + b.size()};
}

void merge_forwards(std::vector<Piece>& pieces) {
  std::vector<Piece> out;
  for (auto it = pieces.rbegin(); it != pieces.rend(); ++it) {
    const bool follows_match = it != pieces.rbegin() && (it - 1)->matches;
    if (it->matches && !follows_match && !out.empty())
      out.back().text = joined(it->text, out.back().text);
    else
      out.push_back(*it);
  }
  std::reverse(out.begin(), out.end());
  pieces.swap(out);
}

void merge_backwards(std::vector<Piece>& pieces) {
  std::vector<Piece> out;
  bool after_match = false;
  for (const Piece& piece : pieces) {
    if (piece.matches && !after_match && !out.empty())
      out.back().text = joined(out.back().text, piece.text);
    else
      out.push_back(piece);
    after_match = piece.matches;
  }
  pieces.swap(out);
}

void merge_alike(std::vector<Piece>& pieces) {
  std::vector<Piece> out;
  for (const Piece& piece : pieces) {
    if (!out.empty() && out.back().matches == piece.matches)
      out.back().text = joined(out.back().text, piece.text);
    else
      out.push_back(piece);
  }
  pieces.swap(out);
}

std::vector<Piece> split(const Regex& pattern, std::string_view text, SplitBehavior behavior, bool invert) {
  std::vector<Piece> pieces = pattern.cut(text);
  if (invert)
    for (Piece& piece : pieces)
      piece.matches = !piece.matches;
  switch (behavior) {
    case SplitBehavior::kIsolated: break;
    case SplitBehavior::kRemoved:
      std::erase_if(pieces, [](const Piece& piece) { return piece.matches; });
      break;
    case SplitBehavior::kMergedWithPrevious: merge_backwards(pieces); break;
    case SplitBehavior::kMergedWithNext: merge_forwards(pieces); break;
    case SplitBehavior::kContiguous: merge_alike(pieces); break;
  }
  return pieces;
}

// A text as a pattern that matches it alone.
std::string literal_pattern(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && !std::isalnum(static_cast<unsigned char>(c))) out += '\\';
    out += c;
  }
  return out;
}

std::string with_spaces_as(std::string_view text, const std::string& mark) {
  std::string out;
  for (const char c : text) {
    if (c == ' ')
      out += mark;
    else
      out += c;
  }
  return out;
}

Regex compiled(const std::string& pattern, const std::string& file) {
  try {
    return Regex(with_word_characters(pattern));
  } catch (const InputError& e) {
    throw InputError(file, 0, e.what());
  }
}

}  // namespace

PreTokenizer PreTokenizer::from_json(const SortedJson& json, const std::string& file) {
  PreTokenizer pre;
  if (!json.is_null()) pre.add(json, file);
  return pre;
}

void PreTokenizer::add(const SortedJson& json, const std::string& file) {
  const std::string type = json.value("type", "");
  if (type == "Sequence") {
    for (const SortedJson& part : json.at("pretokenizers"))
      add(part, file);
    return;
  }
  // A later step would see GPT-2's letters for bytes instead of the text.
  if (byte_level_)
    throw InputError(
        file, 0,
        "pre-tokeniser " + in_quotes(type) + " behind ByteLevel; accepted: ByteLevel as the last step");
  if (type == "ByteLevel") {
    add_byte_level(json);
  } else if (type == "Metaspace") {
    add_metaspace(json, file);
  } else if (type == "Digits") {
    add_split(Regex(json.value("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)"),
              SplitBehavior::kIsolated, false);
  } else if (type == "Punctuation") {
    add_split(Regex(kPunctuation), behavior_of(json.value("behavior", "Isolated"), file), false);
  } else if (type == "Whitespace") {
    add_split(Regex(with_word_characters(R"(\w+|[^\w\s]+)")), SplitBehavior::kRemoved, true);
  } else if (type == "WhitespaceSplit") {
    add_split(Regex(R"(\s)"), SplitBehavior::kRemoved, false);
  } else if (type == "Split") {
    const SortedJson& pattern = json.at("pattern");
    const std::string text = pattern.contains("Regex")
                                 ? pattern["Regex"].get<std::string>()
                                 : literal_pattern(pattern.at("String").get<std::string>());
    add_split(compiled(text, file), behavior_of(json.value("behavior", ""), file),
              json.value("invert", false));
  } else {
    throw InputError(file, 0,
                     "pre-tokeniser " + in_quotes(type) +
                         "; accepted: Sequence, ByteLevel, Digits, Metaspace, Punctuation, Split, "
                         "Whitespace, WhitespaceSplit");
  }
}

void PreTokenizer::add_split(const Regex& pattern, SplitBehavior behavior, bool invert) {
  steps_.push_back([pattern, behavior, invert](Pieces& pieces) {
    std::vector<std::string_view> next;
    for (const std::string_view piece : pieces.all)
      for (const Piece& part : split(pattern, piece, behavior, invert))
        next.push_back(part.text);
    pieces.all.swap(next);
  });
}

void PreTokenizer::add_byte_level(const SortedJson& json) {
  byte_level_ = true;
  if (json.value("add_prefix_space", true)) {
    steps_.push_back([](Pieces& pieces) {
      for (std::string_view& piece : pieces.all)
        if (!piece.empty() && piece[0] != ' ') piece = pieces.made.emplace_back(" " + std::string(piece));
    });
  }
  if (json.value("use_regex", true)) add_split(Regex(kGpt2), SplitBehavior::kIsolated, false);
}

void PreTokenizer::add_metaspace(const SortedJson& json, const std::string& file) {
  const std::string mark = json.value("replacement", "\xe2\x96\x81");
  const std::string scheme =
      json.value("prepend_scheme", json.value("add_prefix_space", true) ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never")
    throw InputError(
        file, 0,
        "pre-tokeniser Metaspace: prepend_scheme " + in_quotes(scheme) + "; accepted: always, first, never");
  steps_.push_back([mark, scheme](Pieces& pieces) {
    bool first = pieces.at_start;
    for (std::string_view& piece : pieces.all) {
      std::string text = with_spaces_as(piece, mark);
      const bool wanted = scheme == "always" || (scheme == "first" && first);
      if (wanted && !text.starts_with(mark)) text.insert(0, mark);
      piece = pieces.made.emplace_back(std::move(text));
      first = false;
    }
  });
  if (json.value("split", true))
    add_split(compiled(literal_pattern(mark), file), SplitBehavior::kMergedWithNext, false);
}

Pieces PreTokenizer::cut(std::string_view text, bool at_start) const {
  Pieces pieces;
  if (text.empty()) return pieces;
  pieces.all = {text};
  pieces.at_start = at_start;
  for (const auto& step : steps_)
    step(pieces);
  return pieces;
}

}  // namespace cai
