#include "cai/stages/sentences.hpp"

#include <initializer_list>

#include "cai/base/text.hpp"

namespace cai {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// "2." at the start of a line numbers an item; it ends no sentence.
bool numbers_an_item(std::string_view text, std::size_t dot) {
  std::size_t from = dot;
  while (from > 0 && is_digit(text[from - 1]))
    --from;
  if (from == dot || dot - from > 3) return false;
  while (from > 0 && (text[from - 1] == ' ' || text[from - 1] == '*' || text[from - 1] == '\t'))
    --from;
  return from == 0 || text[from - 1] == '\n';
}

bool starts_with_any_of(std::string_view text, std::initializer_list<std::string_view> starts,
                        std::size_t& length) {
  for (const std::string_view s : starts)
    if (text.starts_with(s)) {
      length = s.size();
      return true;
    }
  return false;
}

// One past the quotes, brackets and further marks that belong to the sentence before them.
std::size_t past_closing(std::string_view text, std::size_t at) {
  for (std::size_t length;
       at < text.size() &&
       starts_with_any_of(text.substr(at),
                          {"\"", "'",  ")",       "]",       "*",  ".",  "!",  "?",  "”",  "’", "“",
                           "»",  " »", "\u00a0»", "\u202f»", "」", "』", "）", "。", "？", "！"},
                          length);)
    at += length;
  return at;
}

// One past the end of the sentence that the mark at `at` closes, or 0 when it closes none.
std::size_t sentence_end(std::string_view text, std::size_t at) {
  std::size_t length = 0;
  // These end a sentence without a space behind them.
  if (starts_with_any_of(text.substr(at), {"。", "？", "！", "．", "।", "؟", "۔", "။", "។"}, length))
    return past_closing(text, at + length);
  const char c = text[at];
  if (c != '.' && c != '!' && c != '?') return 0;
  if (c == '.' && numbers_an_item(text, at)) return 0;
  const std::size_t end = past_closing(text, at + 1);
  return end == text.size() || text[end] == ' ' || text[end] == '\n' ? end : 0;
}

}  // namespace

std::vector<std::string> sentences_of(std::string_view text) {
  std::vector<std::string> all;
  std::size_t from = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t end = text[i] == '\n' ? i + 1 : sentence_end(text, i);
    if (end == 0) continue;
    if (std::string one = trim(text.substr(from, end - from)); !one.empty()) all.push_back(lower_ascii(one));
    from = end, i = end - 1;
  }
  if (std::string rest = trim(text.substr(from)); !rest.empty()) all.push_back(lower_ascii(rest));
  return all;
}

std::string cut_at_sentence(std::string_view text) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n' && !trim(text.substr(0, i)).empty()) {
      best = i;  // a whole line of a list or paragraph
    } else if (const std::size_t end = sentence_end(text, i)) {
      best = end;
    }
  }
  std::string cut = trim(text.substr(0, best));
  // A line that announces a list has lost it.
  while (!cut.empty() && cut.back() == ':') {
    const std::size_t line = cut.rfind('\n');
    cut = line == cut.npos ? "" : trim(std::string_view(cut).substr(0, line));
  }
  // An open code block is no whole answer.
  std::size_t fences = 0;
  for (std::size_t at = cut.find("```"); at != cut.npos; at = cut.find("```", at + 3))
    ++fences;
  if (fences % 2 == 1) cut = trim(std::string_view(cut).substr(0, cut.rfind("```")));
  return cut;
}

std::string whole_part(const std::string& answer, std::string_view finish) {
  if (finish == "stop") return answer;
  const std::string whole = cut_at_sentence(answer);
  return whole.empty() ? answer : whole;
}

std::string first_sentences(std::string_view text, int n) {
  for (std::size_t i = 0; i < text.size(); ++i)
    if (const std::size_t end = sentence_end(text, i)) {
      if (--n == 0) return trim(text.substr(0, end));
      i = end - 1;
    }
  return trim(text);
}

}  // namespace cai
