#include "cai/stages/clean.hpp"

#include <algorithm>
#include <initializer_list>

#include "cai/base/text.hpp"
#include "cai/data/refusal.hpp"
#include "cai/stages/overlap.hpp"
#include "cai/stages/sentences.hpp"

namespace cai {
namespace {

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
    if (!starts_with_any(text.substr(line + 1), {"User:", "Human:", "Assistant:"})) continue;
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

}  // namespace

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
