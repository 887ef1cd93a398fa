#include "cai/data/check_from_text.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <regex>
#include <set>
#include <vector>

#include "cai/base/text.hpp"

namespace cai {
namespace {

constexpr std::size_t kLongest = 300;  // a longer sentence says more than a few plain rules

// Words that carry no rule of their own beside one that was recognised.
bool is_filler(const std::string& word) {
  static const std::set<std::string> words = {
      "a",        "all",       "always", "an",   "and",     "answer", "answers", "are",      "be",
      "each",     "every",     "for",    "give", "have",    "in",     "is",      "it",       "keep",
      "long",     "must",      "of",     "only", "or",      "person", "reply",   "replies",  "respond",
      "response", "responses", "should", "so",   "text",    "that",   "the",     "their",    "them",
      "then",     "they",      "to",     "use",  "user",    "using",  "whole",   "with",     "write",
      "you",      "your",      "very",   "than", "short",   "brief",  "there",   "contain",  "contains",
      "include",  "includes",  "words",  "word", "say",     "speak",  "at",      "customer", "reader",
      "please",   "form",      "limit",  "its",  "overall", "total",  "length"};
  return words.contains(word);
}

// Compiled once: a sentence is held against some eighty patterns.
const std::regex& compiled(const std::string& pattern) {
  static std::map<std::string, std::regex> all;
  const auto found = all.find(pattern);
  return found != all.end() ? found->second
                            : all.emplace(pattern, std::regex(pattern, std::regex::icase)).first->second;
}

std::string digits(std::string text) {
  static const std::vector<std::string> numbers = {
      "zero",     "one",     "two",     "three",     "four",     "five",     "six",
      "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",   "thirteen",
      "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"};
  for (std::size_t n = 1; n < numbers.size(); ++n)
    text = std::regex_replace(text, compiled("\\b" + numbers[n] + "\\b"), std::to_string(n));
  for (const auto& [word, n] : std::map<std::string, std::string>{{"thirty", "30"},
                                                                  {"forty", "40"},
                                                                  {"fifty", "50"},
                                                                  {"sixty", "60"},
                                                                  {"eighty", "80"},
                                                                  {"(a|1) hundred", "100"}})
    text = std::regex_replace(text, compiled("\\b" + word + "\\b"), n);
  return text;
}

// Straight quotes and apostrophes, lower case outside of quotes is left to the patterns.
std::string plain(const std::string& text) {
  std::string out = text;
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\xe2\x80\x9c", "\""}, {"\xe2\x80\x9d", "\""}, {"\xe2\x80\x98", "'"}, {"\xe2\x80\x99", "'"}})
    for (std::size_t at = out.find(from); at != out.npos; at = out.find(from, at + to.size()))
      out.replace(at, from.size(), to);
  return out;
}

std::string limits(const std::string& unit, const std::string& at_least, const std::string& at_most) {
  std::string text = unit + "s: {";
  if (!at_least.empty()) text += "at_least: " + at_least;
  if (!at_most.empty()) text += std::string(at_least.empty() ? "" : ", ") + "at_most: " + at_most;
  return text + "}";
}

std::string in_single_quotes(const std::string& text) {
  return "'" + std::regex_replace(text, std::regex("'"), "''") + "'";
}

// The phrases in quotes, as a YAML list.
std::string phrases(const std::string& quoted) {
  static const std::regex one("\"([^\"]+)\"");
  std::string list;
  for (std::sregex_iterator at(quoted.begin(), quoted.end(), one), end; at != end; ++at) {
    std::string phrase = trim((*at)[1].str());
    if (phrase.size() > 1 && (phrase.back() == ',' || phrase.back() == '.')) phrase.pop_back();
    list += (list.empty() ? "" : ", ") + in_single_quotes(phrase);
  }
  return "[" + list + "]";
}

// What an answer can be written without, and the rule for that.
const std::map<std::string, std::string>& things() {
  static const std::map<std::string, std::string> all = {
      {"exclamation marks?|exclamation points?", "avoids_pattern: '!'"},
      {"question marks?|questions?", "avoids_pattern: '\\?'"},
      {"emojis?|emoticons?", "avoids_pattern: '[\\x{1F300}-\\x{1FAFF}\\x{2600}-\\x{27BF}]|[:;]-?[)(DP]'"},
      {"bullet points?|bullets|bullet lists?|bulleted lists?", "avoids_pattern: '(?m)^\\s*[-*\\x{2022}]\\s'"},
      {"numbered lists?", "avoids_pattern: '(?m)^\\s*\\d+[.)]\\s'"},
      {"lists?", "list_items: {at_most: 0}"},
      {"headings?|headers?", "avoids_pattern: '(?m)^\\s*#{1,6}\\s'"},
      {"bold( text| type)?", "avoids_pattern: '\\*\\*'"},
      {"markdown( formatting)?", "avoids_pattern: '(?m)\\*\\*|^\\s*#{1,6}\\s|^\\s*[-*]\\s|`'"},
      {"semicolons?", "avoids_pattern: ';'"},
      {"commas?", "avoids_pattern: ','"},
      {"colons?", "avoids_pattern: ':'"},
      {"parentheses|brackets", "avoids_pattern: '[()\\[\\]]'"},
      {"digits|numerals", "avoids_pattern: '\\d'"},
      {"contractions?",
       "avoids_pattern: "
       "'(?i)\\w(n[\\x{2019}'']t|[\\x{2019}''](re|ve|ll|m|d))\\b|\\b(it|that|what|there|here|let)[\\x{2019}''"
       "]s\\b'"},
      {"abbreviations?", "avoids_pattern: '\\b(e\\.g\\.|i\\.e\\.|etc\\.|approx\\.|vs\\.)'"},
      {"greetings?|a greeting",
       "avoids_pattern: '(?i)^\\W*(hi|hello|hey|dear|greetings|good (morning|day|afternoon|evening))\\b'"},
  };
  return all;
}

const std::map<std::string, std::string>& languages() {
  static const std::map<std::string, std::string> all = {
      {"english", "en"},  {"german", "de"},     {"french", "fr"},  {"spanish", "es"},
      {"italian", "it"},  {"portuguese", "pt"}, {"dutch", "nl"},   {"chinese", "zh"},
      {"japanese", "ja"}, {"korean", "ko"},     {"russian", "ru"}, {"arabic", "ar"}};
  return all;
}

// Takes rules out of a sentence; what is left must be filler.
class Sentence {
 public:
  explicit Sentence(const std::string& text) : left_(digits(text)) {}

  using Match = std::smatch;

  // Every match of the pattern becomes a rule and is taken out.
  void take(const std::string& pattern, const std::function<std::string(const Match&)>& rule) {
    Match match;
    while (std::regex_search(left_, match, compiled(pattern))) {
      rules_.push_back(rule(match));
      left_ = match.prefix().str() + " | " + match.suffix().str();
    }
  }

  std::string yaml() const {
    std::string list;
    for (const std::string& rule : rules_)
      list += (list.empty() ? "{" : ", {") + rule + "}";
    const std::vector<std::string> words = words_of(left_);
    return rules_.empty() || !std::all_of(words.begin(), words.end(), is_filler) ? "" : "[" + list + "]";
  }

 private:
  std::string left_;
  std::vector<std::string> rules_;
};

void take_counts(Sentence& s) {
  const std::string unit = "(sentence|word|line|paragraph|character)s?";
  const auto less = [](const std::string& n) { return std::to_string(std::max(0L, std::stol(n) - 1)); };
  const auto more = [](const std::string& n) { return std::to_string(std::stol(n) + 1); };
  const auto lower = [](const Sentence::Match& m, int k) { return lower_ascii(m[k].str()); };
  s.take("(?:never|(?:do )?not|don't|no)(?: [a-z]+){0,3} (?:more than|over|longer than) (\\d{1,5}) " + unit,
         [&](const auto& m) { return limits(lower(m, 2), "", m[1].str()); });
  s.take(
      "(?:never|(?:do )?not|don't|no)(?: [a-z]+){0,3} (?:fewer than|less than|under|shorter than) "
      "(\\d{1,5}) " +
          unit,
      [&](const auto& m) { return limits(lower(m, 2), m[1].str(), ""); });
  s.take("between (\\d{1,5}) and (\\d{1,5}) " + unit,
         [&](const auto& m) { return limits(lower(m, 3), m[1].str(), m[2].str()); });
  s.take("(\\d{1,5}) ?(?:to|-) ?(\\d{1,5}) " + unit,
         [&](const auto& m) { return limits(lower(m, 3), m[1].str(), m[2].str()); });
  s.take("(?:at most|no more than|not more than|up to|a maximum of|maximum) (\\d{1,5}) (?:short |whole )?" +
             unit,
         [&](const auto& m) { return limits(lower(m, 2), "", m[1].str()); });
  s.take("(\\d{1,5}) (?:short )?" + unit + " or (?:fewer|less|shorter)",
         [&](const auto& m) { return limits(lower(m, 2), "", m[1].str()); });
  s.take("(?:under|below|fewer than|less than|shorter than) (\\d{1,5}) " + unit,
         [&](const auto& m) { return limits(lower(m, 2), "", less(m[1].str())); });
  s.take("(?:at least|no fewer than|no less than|a minimum of|minimum) (\\d{1,5}) " + unit,
         [&](const auto& m) { return limits(lower(m, 2), m[1].str(), ""); });
  s.take("(?:more than|over|longer than) (\\d{1,5}) " + unit,
         [&](const auto& m) { return limits(lower(m, 2), more(m[1].str()), ""); });
  s.take(
      "(?:exactly|in|with) (?:just |only |a single |exactly )?(\\d{1,5}) (?:short |whole |single )?" + unit,
      [&](const auto& m) { return limits(lower(m, 2), m[1].str(), m[1].str()); });
}

void take_ends(Sentence& s) {
  const std::string quoted = "((?:\"[^\"]+\"(?:,? (?:and|or) |, )?)+)",
                    answer = "(?: (?:your|the|each|every|an|all))?(?: (?:answer|reply|response)s?)?";
  s.take("(?:end|ends|close|closes|finish|finishes|conclude)" + answer +
             " with (?:a|an|1|exactly 1)(?: single| short| brief| follow-up| clarifying| friendly| helpful| "
             "open)* question"
             "(?: (?:that|which|to|for|about|of) .*)?",
         [](const auto&) { return "ends_with: '?'"; });
  s.take("(?:end|ends|close|closes|finish|finishes|conclude)" + answer +
             " with(?: the)?(?: word| words| phrase| sentence| line)? " + quoted,
         [](const auto& m) { return "ends_with: " + phrases(m[1].str()); });
  s.take("(?:begin|begins|start|starts|open|opens)" + answer +
             " with(?: the)?(?: word| words| phrase| sentence)? " + quoted,
         [](const auto& m) { return "begins_with: " + phrases(m[1].str()); });
  s.take("(?:begin|begins|start|starts|open|opens)" + answer +
             " with a (?:short |friendly |polite |warm )?greeting",
         [](const auto&) {
           return "begins_with: [hi, hello, hey, dear, greetings, good morning, good day, good afternoon, "
                  "good evening, welcome]";
         });
}

void take_words(Sentence& s) {
  const std::string quoted = "((?:\"[^\"]+\"(?:,? (?:and|or) |, )?)+)",
                    words = "(?: the)?(?: words?| phrases?| expressions?)?";
  s.take(
      "(?:do not|don't|never|avoid|without|leave out|no)(?: "
      "(?:use|using|say|saying|write|writing|mention|mentioning|include|contain))?" +
          words + " " + quoted,
      [](const auto& m) { return "avoids: " + phrases(m[1].str()); });
  s.take("(?:use|mention|include|contain|say|write)" + words + " " + quoted,
         [](const auto& m) { return "contains_all: " + phrases(m[1].str()); });
  s.take("(?:speak to|address) (?:the )?(?:person|user|reader|customer|them)(?: directly)? as \"you\"",
         [](const auto&) { return "contains: [you, your, yours, yourself]"; });
  s.take("thank (?:the )?(?:person|user|reader|customer|them)(?: for .*)?",
         [](const auto&) { return "contains: [thank, thanks]"; });
}

void take_forms(Sentence& s) {
  for (const auto& [name, rule] : things()) {
    s.take("(?:without|do not use|don't use|never use|avoid|leave out|no)(?: any| using)? (?:" + name +
               ")(?![a-z])",
           [rule = rule](const auto&) { return rule; });
  }
  for (std::size_t more = 0; more < 4; ++more)  // "without A, B or C": the rest of a list that has begun
    for (const auto& [name, rule] : things())
      s.take("\\|\\s*(?:,|or|and|,\\s*(?:or|and))\\s*(?:" + name + ")(?![a-z])",
             [rule = rule](const auto&) { return rule; });
  s.take("(?:as|in|with|use) (?:the form of )?a numbered list",
         [](const auto&) { return "matches: '(?m)^\\s*1[.)]\\s'}, {list_items: {at_least: 2}"; });
  s.take("(?:as|in|with|use) (?:the form of )?(?:a bulleted list|a bullet list|bullet points)",
         [](const auto&) { return "matches: '(?m)^\\s*[-*\\x{2022}]\\s'"; });
  s.take("(?:write|give|use) (?:all )?numbers (?:in|as|with) (?:digits|numerals)", [](const auto&) {
    return "avoids: [two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, twenty, hundred, "
           "thousand]";
  });
  s.take(
      "(?:give |use |write )?(?:all )?(?:measures |measurements |units )?(?:in |only )?(?:the )?metric "
      "(?:units|system|measures)(?: only)?",
      [](const auto&) {
        return "avoids_pattern: "
               "'(?i)\\d\\s*-?\\s*(inch(es)?|feet|foot|ft|miles?|yards?|pounds?|lbs?|ounces?|oz|gallons?|"
               "fahrenheit|\\x{b0}\\s*f)\\b'";
      });
  for (const auto& [name, code] : languages())
    s.take("(?:in|use) " + name, [code = code](const auto&) { return "language: " + code; });
}

}  // namespace

std::string check_from_text(const std::string& sentence) {
  const std::string text = plain(sentence);
  static const std::regex condition(
      "\\b(if|when|whenever|where|unless|while|because|instead|rather|before|after|only for|except)\\b",
      std::regex::icase);
  if (text.size() > kLongest || std::regex_search(text, condition)) return "";
  Sentence s(text);
  take_ends(s);
  take_words(s);
  take_counts(s);
  take_forms(s);
  return s.yaml();
}

}  // namespace cai
