#include "cai/data/answer_text.hpp"

#include <algorithm>
#include <set>
#include <vector>

#include "cai/base/regex.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

// What may stand before the dot without ending a sentence.
bool is_abbreviation(std::string_view word) {
  static const std::set<std::string, std::less<>> known = {"mr",  "mrs", "ms",  "dr", "prof", "st",     "vs",
                                                           "e.g", "i.e", "etc", "no", "fig",  "approx", "z.b",
                                                           "d.h", "bzw", "ca",  "dr", "nr",   "p.ex"};
  return known.count(lower_ascii(word)) > 0;
}

// The word that ends at the end of `text`, dots inside of it included.
std::string_view last_word(std::string_view text) {
  const std::size_t space = text.find_last_of(" \t\n(\"'");
  return space == text.npos ? text : text.substr(space + 1);
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  std::size_t at = 0;
  while (at <= text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

bool is_blank(std::string_view line) {
  return trim(line).empty();
}

const Regex& list_marker() {
  static const Regex pattern("^\\s*(?:[-*\\x{2022}]|\\d{1,3}[.)])\\s+");
  return pattern;
}

// Sentences of one line. A full stop needs white space or the end behind it; the marks of Chinese and
// Japanese do not.
std::size_t sentences_of_line(std::string_view line) {
  static const Regex ends(
      "(?:[.!?\\x{2026}]+[\"'\\x{201d}\\x{2019}\\x{00bb})\\]*_]*(?=\\s|$)|[\\x{3002}\\x{ff01}\\x{ff1f}]+)");
  static const Regex something("[\\p{L}\\p{N}]");
  std::size_t count = 0;
  std::size_t begin = 0;
  for (const std::string_view mark : ends.all(line)) {
    const std::size_t at = static_cast<std::size_t>(mark.data() - line.data());
    const std::string_view sentence = line.substr(begin, at - begin);
    const std::size_t end = at + mark.size();
    if (!something.matches(sentence)) continue;
    if (mark == "." && end < line.size() && is_abbreviation(last_word(sentence))) continue;
    ++count;
    begin = end;
  }
  return count + (something.matches(line.substr(begin)) ? 1 : 0);
}

// The line without the number or dash that makes it an item of a list.
std::string_view without_marker(std::string_view line) {
  const auto found = list_marker().all(line);
  return found.empty() ? line : line.substr(found.front().size());
}

}  // namespace

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::size_t count_words(std::string_view text) {
  static const Regex word(
      "[\\p{Han}\\p{Hiragana}\\p{Katakana}]"
      "|(?:(?![\\p{Han}\\p{Hiragana}\\p{Katakana}])[\\p{L}\\p{M}\\p{N}])+"
      "(?:['\\x{2019}.-](?:(?![\\p{Han}\\p{Hiragana}\\p{Katakana}])[\\p{L}\\p{M}\\p{N}])+)*");
  return word.all(text).size();
}

std::size_t count_sentences(std::string_view text) {
  std::size_t count = 0;
  for (const std::string_view line : lines_of(text))
    count += sentences_of_line(without_marker(line));
  return count;
}

std::size_t count_lines(std::string_view text) {
  const std::vector<std::string_view> lines = lines_of(text);
  return static_cast<std::size_t>(
      std::count_if(lines.begin(), lines.end(), [](std::string_view line) { return !is_blank(line); }));
}

std::size_t count_paragraphs(std::string_view text) {
  std::size_t count = 0;
  bool inside = false;
  for (const std::string_view line : lines_of(text)) {
    const bool blank = is_blank(line);
    if (!blank && !inside) ++count;
    inside = !blank;
  }
  return count;
}

std::size_t count_list_items(std::string_view text) {
  const std::vector<std::string_view> lines = lines_of(text);
  return static_cast<std::size_t>(std::count_if(
      lines.begin(), lines.end(), [](std::string_view line) { return list_marker().matches(line); }));
}

std::string without_code_fence(std::string_view text) {
  const std::string whole = trim(text);
  if (!whole.starts_with("```") || whole.size() < 6 || !whole.ends_with("```")) return whole;
  const std::size_t first_line = whole.find('\n');
  if (first_line == whole.npos) return whole;
  const std::string inside = whole.substr(first_line + 1, whole.size() - first_line - 4);
  return inside.find("```") == inside.npos ? trim(inside) : whole;
}

}  // namespace cai
