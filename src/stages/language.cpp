#include "cai/stages/language.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "cai/base/text.hpp"

namespace cai {
namespace {

constexpr std::size_t kFewestWords = 6;

// Common in English and rare in other languages: "in", "an", "die", "me", "no" and their like are left out.
bool is_common_english(const std::string& word) {
  static const std::set<std::string> words = {
      "the",  "and",   "of",    "to",    "is",    "are",  "was",   "were",  "be",    "been",   "it",
      "its",  "that",  "this",  "these", "those", "you",  "your",  "i",     "im",    "he",     "she",
      "they", "their", "them",  "we",    "our",   "with", "for",   "from",  "by",    "at",     "not",
      "dont", "cant",  "have",  "has",   "had",   "can",  "will",  "would", "could", "should", "which",
      "what", "when",  "how",   "who",   "there", "here", "about", "if",    "but",   "or",     "as",
      "some", "any",   "other", "also",  "more",  "than", "then"};
  return words.count(word) > 0;
}

}  // namespace

bool looks_english(std::string_view text) {
  const std::vector<std::string> words = words_of(text);
  if (words.size() < kFewestWords) return true;
  return 8 * static_cast<std::size_t>(std::count_if(words.begin(), words.end(), is_common_english)) >=
         words.size();
}

Json language_figures(const std::vector<std::string>& answers) {
  long english = 0, n = 0;
  for (const std::string& answer : answers) {
    if (words_of(answer).size() < kFewestWords) continue;
    english += looks_english(answer);
    ++n;
  }
  if (n == 0) return {};
  return {{"english", static_cast<double>(english) / static_cast<double>(n)}, {"n", n}};
}

std::string language_warning(const Json& figures) {
  if (!figures.is_object() || !figures.contains("english") || figures["english"].get<double>() >= 0.5)
    return "";
  return "only " + std::to_string(std::lround(100 * figures["english"].get<double>())) + " % of " +
         std::to_string(figures["n"].get<long>()) +
         " answers look English; whether an answer refuses is told by English phrases only, so figures of "
         "refusing and complying, and labels by contrast, mean nothing";
}

}  // namespace cai
