#include "cai/stages/clean.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "cai/base/text.hpp"
#include "cai/data/refusal.hpp"

namespace cai {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::uint64_t hash(const std::string* first, std::size_t n) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (std::size_t i = 0; i < n; ++i) {
    for (const char c : first[i])
      h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    h = (h ^ 0x20u) * 0x100000001b3u;
  }
  return h;
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

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> starts) {
  return std::any_of(starts.begin(), starts.end(), [&](std::string_view s) { return text.starts_with(s); });
}

bool has_any(std::string_view text, std::initializer_list<std::string_view> pieces) {
  return std::any_of(pieces.begin(), pieces.end(),
                     [&](std::string_view s) { return text.find(s) != text.npos; });
}

// Whether a line begins with a label: a word or three, and a colon.
bool has_label(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == line.npos || colon == 0 || colon > 24) return false;
  const std::string_view label = line.substr(0, colon);
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == ' ' || c == '*' || c == '-' || c == '_';
  };
  return std::all_of(label.begin(), label.end(), is_letter) &&
         std::count(label.begin(), label.end(), ' ') < 3;
}

// A dialogue, a form, YAML: labels belong to what it says.
bool is_labelled_text(std::string_view text) {
  int labelled = 0;
  for (const std::string& line : split(text, '\n'))
    labelled += has_label(trim(line));
  return labelled >= 2;
}

// Length of a leading "Assistant:" or "**Revised answer**:", 0 when there is none.
std::size_t role_label(const std::string& lower) {
  std::size_t from = 0;
  while (from < lower.size() && (lower[from] == '*' || lower[from] == '#' || lower[from] == ' '))
    ++from;
  for (const char* label : {"assistant", "ai assistant", "ai", "revised response", "revised answer",
                            "revised version", "revision", "rewritten answer", "rewritten response",
                            "new answer", "response", "answer", "critique"}) {
    const std::string_view rest = std::string_view(lower).substr(from);
    if (!rest.starts_with(label)) continue;
    std::size_t at = from + std::char_traits<char>::length(label);
    while (at < lower.size() && lower[at] == '*')
      ++at;
    if (at >= lower.size() || lower[at] != ':') continue;
    ++at;
    while (at < lower.size() && (lower[at] == '*' || lower[at] == ' ' || lower[at] == '\n'))
      ++at;
    return at;
  }
  return 0;
}

// Where the model went on with the conversation: the first line that begins with one of its roles, right
// behind the end of the answer (a whole sentence or a closed code block). In a dialogue that was asked for,
// the first role follows an announcement or is the first line.
std::size_t next_turn(std::string_view text) {
  for (std::size_t line = text.find('\n'); line != text.npos; line = text.find('\n', line + 1)) {
    std::size_t length = 0;
    if (!starts_with_any_of(text.substr(line + 1), {"User:", "Human:", "Assistant:"}, length)) continue;
    const std::string before = trim(text.substr(0, line));
    const std::size_t last = before.empty() ? 0 : before.find_last_not_of("\"')]*");
    const bool is_whole =
        !before.empty() && last != before.npos &&
        (before.ends_with("```") || before[last] == '.' || before[last] == '!' || before[last] == '?');
    return is_whole && !has_label(std::string_view(before).substr(before.rfind('\n') + 1)) ? line
                                                                                           : text.size();
  }
  return text.size();
}

// Length of "Here is a revised version of the answer:" and its like, 0 when there is none.
std::size_t announcement(const std::string& lower) {
  const std::size_t end = std::min(lower.find(':'), lower.find('\n'));
  if (end == lower.npos || end > 240) return 0;
  const std::string_view line = std::string_view(lower).substr(0, end);
  if (!starts_with_any(line, {"here", "sure", "certainly", "okay", "ok,", "of course", "below is", "this is",
                              "the revised", "the following", "i have re", "i've re", "absolutely"}))
    return 0;
  if (!has_any(line, {"revis", "rewrit", "rewrote", "rephras", "improved", "version of", "my response",
                      "the response", "updated", "my answer", "the answer", "critique"}))
    return 0;
  return end + 1;
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

std::string strip_meta(std::string_view text) {
  std::string s = trim(text);
  s = trim(std::string_view(s).substr(0, next_turn(s)));
  for (int pass = 0; pass < 3; ++pass) {
    const std::string lower = lower_ascii(std::string_view(s).substr(0, 400));
    const std::size_t label = is_labelled_text(s) ? 0 : role_label(lower),
                      announced = label ? label : announcement(lower);
    if (announced == 0) break;
    s = trim(std::string_view(s).substr(announced));
  }
  if (s.size() > 2 && s.front() == '"' && s.back() == '"' && s.find('"', 1) == s.size() - 1)
    s = trim(std::string_view(s).substr(1, s.size() - 2));
  if (s.size() > 2 && s.front() == '"' && std::count(s.begin(), s.end(), '"') == 1)
    s = trim(std::string_view(s).substr(1));  // its end was cut off
  return s;
}

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

bool is_meta(std::string_view text) {
  const std::string start = lower_ascii(text.substr(0, 400));
  return has_any(start,
                 {"the assistant's",   "the ai's",          "revised response",   "revised answer",
                  "revised version",   "rewritten version", "rewritten response", "rewritten answer",
                  "original response", "original answer",   "previous response",  "previous answer",
                  "last response",     "last answer",       "the critique",       "this principle",
                  "the principle",     "your response",     "your answer",        "the response should",
                  "the answer should", "rewrite the"});
}

bool is_on_topic(std::string_view prompt, std::string_view text) {
  const std::set<std::string> asked = content_stems(prompt), said = content_stems(text);
  if (asked.empty() || said.empty()) return true;
  return std::any_of(said.begin(), said.end(),
                     [&](const std::string& stem) { return asked.count(stem) > 0; });
}

std::string answer_problem(std::string_view text, std::string_view finish) {
  if (finish.starts_with("error")) return "error";
  if (words_of(text).empty()) return finish == "length" ? "cut" : "empty";
  if (is_repeated(text)) return "repeated";
  return "";
}

std::string own_answer(std::string_view response, std::string_view finish, std::string& why) {
  std::string text = strip_meta(response);
  if (finish != "stop") text = cut_at_sentence(text);
  why = answer_problem(text, finish);
  if (why.empty() && is_refusal(text)) why = "refusal";
  return text;
}

std::string revision_problem(std::string_view prompt, std::string_view answer, std::string_view revision,
                             std::string_view finish, bool is_refusal) {
  const std::vector<std::string> words = words_of(revision);
  if (finish.starts_with("error")) return "error";
  if (words.size() < 3) return finish == "length" ? "cut" : "empty";
  const auto grams = word_grams(words, 3);
  if (jaccard(grams, word_grams(words_of(answer), 3)) > 0.8 ||
      jaccard(grams, word_grams(words_of(prompt), 3)) > 0.8)
    return "copy";
  if (is_meta(revision)) return "meta";
  if (is_repeated(revision)) return "repeated";
  if (!is_on_topic(prompt, revision) && (!is_refusal || words.size() > 40)) return "off-topic";
  return "";
}

std::string critique_problem(std::string_view answer, std::string_view critique, std::string_view finish) {
  const std::vector<std::string> words = words_of(critique);
  if (finish.starts_with("error")) return "error";
  if (words.size() < 3) return finish == "length" ? "cut" : "empty";
  if (jaccard(word_grams(words, 3), word_grams(words_of(answer), 3)) > 0.5) return "copy";
  if (is_repeated(critique)) return "repeated";
  return "";
}

}  // namespace cai
