#include "cai/stages/overlap.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "cai/base/text.hpp"
#include "cai/stages/sentences.hpp"

namespace cai {
namespace {

std::uint64_t hash(const std::string* first, std::size_t n) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (std::size_t i = 0; i < n; ++i) {
    for (const char c : first[i])
      h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    h = (h ^ 0x20u) * 0x100000001b3u;
  }
  return h;
}

const std::set<std::string>& function_words() {
  static const std::set<std::string> words = {
      "about",   "after",  "again",   "also",  "another", "anyone",    "because", "been",   "before", "being",
      "both",    "could",  "does",    "doing", "done",    "each",      "else",    "even",   "ever",   "every",
      "from",    "give",   "going",   "have",  "help",    "here",      "into",    "just",   "know",   "like",
      "list",    "make",   "many",    "more",  "most",    "much",      "need",    "only",   "other",  "over",
      "please",  "should", "show",    "some",  "someone", "something", "such",    "tell",   "than",   "that",
      "their",   "them",   "then",    "there", "these",   "they",      "thing",   "things", "this",   "those",
      "through", "using",  "very",    "want",  "were",    "what",      "when",    "where",  "which",  "while",
      "will",    "with",   "without", "would", "write",   "your",      "yourself"};
  return words;
}

std::size_t letters(const std::string& word) {
  return static_cast<std::size_t>(std::count_if(
      word.begin(), word.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

// The first five letters.
std::string stem(const std::string& word) {
  std::size_t end = 0, seen = 0;
  for (; end < word.size(); ++end)
    if ((static_cast<unsigned char>(word[end]) & 0xc0) != 0x80 && ++seen > 5) break;
  return word.substr(0, end);
}

bool is_ascii(const std::string& word) {
  return std::all_of(word.begin(), word.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Of words with spaces between them: the first five letters of those that have four. Where a character is a
// word: pairs of neighbours.
std::set<std::string> content_stems(std::string_view text) {
  std::set<std::string> stems;
  std::string before;
  for (const std::string& word : words_of(text)) {
    const bool is_character = letters(word) == 1 && !is_ascii(word);
    if (is_character && !before.empty()) stems.insert(before + word);
    before = is_character ? word : "";
    if (letters(word) >= 4 && !function_words().count(word)) stems.insert(stem(word));
  }
  return stems;
}

}  // namespace

std::vector<std::uint64_t> word_grams(const std::vector<std::string>& words, std::size_t n) {
  std::vector<std::uint64_t> grams;
  if (words.empty()) return grams;
  if (words.size() < n) grams.push_back(hash(words.data(), words.size()));
  for (std::size_t i = 0; i + n <= words.size(); ++i)
    grams.push_back(hash(&words[i], n));
  std::sort(grams.begin(), grams.end());
  grams.erase(std::unique(grams.begin(), grams.end()), grams.end());
  return grams;
}

double jaccard(const std::vector<std::uint64_t>& a, const std::vector<std::uint64_t>& b) {
  std::size_t shared = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j])
      ++shared, ++i, ++j;
    else if (a[i] < b[j])
      ++i;
    else
      ++j;
  }
  const std::size_t all = a.size() + b.size() - shared;
  return all == 0 ? 0 : static_cast<double>(shared) / static_cast<double>(all);
}

bool is_repeated(std::string_view text) {
  std::map<std::string, int> seen;
  for (const std::string& sentence : sentences_of(text))
    if (words_of(sentence).size() >= 2 && ++seen[sentence] >= 3) return true;
  const std::vector<std::string> words = words_of(text);
  if (words.size() < 12) return false;
  std::set<std::uint64_t> grams;
  std::size_t again = 0;
  for (std::size_t i = 0; i + 4 <= words.size(); ++i)
    again += !grams.insert(hash(&words[i], 4)).second;
  return static_cast<double>(again) > 0.3 * static_cast<double>(words.size() - 3);
}

bool is_on_topic(std::string_view prompt, std::string_view text) {
  const std::set<std::string> asked = content_stems(prompt), said = content_stems(text);
  if (asked.empty() || said.empty()) return true;
  return std::any_of(said.begin(), said.end(),
                     [&](const std::string& stem) { return asked.count(stem) > 0; });
}

}  // namespace cai
