// Rules for answers that a program can verify: a principle's `check:`. The same rules serve filters, labels,
// rewards, tests and reports.
//
// A check is a list of rules, and an answer follows the check when every rule holds. docs/reference/checks.md
// lists the rules.
#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "cai/base/regex.hpp"

namespace cai {

/// What a rule looks at.
enum class AnswerRuleKind {
  kCharacters,  // counts: at_least <= count <= at_most
  kWords,
  kSentences,
  kLines,       // lines that are not blank
  kParagraphs,  // blocks of lines between blank lines
  kListItems,   // lines that begin with "-", "*", "•" or a number with "." or ")"
  kContains,    // one of the patterns matches (kContainsAll: each)
  kContainsAll,
  kAvoids,      // no pattern matches
  kBeginsWith,  // one of the patterns matches at the begin or the end
  kEndsWith,
  kJson,  // the answer is one JSON value, with or without a code fence; `texts`: fields that the object must
          // have
  kLanguage,  // `texts`: one language code
  kRefuses,   // the answer declines the request (wanted: whether it should)
  kAny,       // one of `rules` holds
  kIf,  // where all of `request` hold for the request and all of `answer` for the answer, all of `rules` must
        // hold
};

struct AnswerRule {
  AnswerRuleKind kind = AnswerRuleKind::kWords;
  std::string name;  // as the file spells it: "words"
  long at_least = 0;
  long at_most = std::numeric_limits<long>::max();
  std::vector<std::string> texts;  // as the file spells them, for messages
  std::vector<Regex> patterns;     // of `texts`
  bool wanted = true;
  std::vector<AnswerRule> request, answer, rules;
};

struct AnswerCheck {
  std::vector<AnswerRule> rules;
  std::string source;  // the rules as YAML on one line, for display and comparison

  bool empty() const { return rules.empty(); }
};

struct CheckResult {
  double share = 1;  // rules that hold, of all: a reward that rises with each rule
  std::vector<std::string>
      broken;  // one text a rule that does not hold: "sentences: 5 found, at most 3 wanted"

  bool holds() const { return broken.empty(); }
};

/// Applies every rule. `request` and `answer` must be valid UTF-8. An empty answer breaks every check that
/// has a rule. A pattern that takes too many steps on this text counts as a rule that does not hold, and its
/// text says so.
CheckResult apply_check(const AnswerCheck& check, std::string_view request, std::string_view answer);

/// A phrase as a pattern: whole words, letter case ignored, any white space between its words, straight or
/// curly apostrophes. A phrase that begins or ends with a sign that is no letter or digit ("€", "?") matches
/// anywhere on that side. For kBeginsWith and kEndsWith it must stand at that end of the text; quotes and
/// brackets around the text are skipped.
Regex phrase_pattern(const std::string& phrase, AnswerRuleKind kind = AnswerRuleKind::kContains);

/// The language of a text by its script and its commonest words: "en", "de", "fr", "es", "it", "pt", "nl",
/// "zh", "ja", "ko", "ru", "ar", "el", "he", "hi", "th"; "" where there is too little text to tell.
std::string language_of(std::string_view text);

/// The codes that language_of() can return.
const std::vector<std::string>& known_languages();

}  // namespace cai
