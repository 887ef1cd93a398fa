#include "cai/data/answer_check.hpp"

#include <algorithm>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/answer_text.hpp"
#include "cai/data/check_scope.hpp"
#include "cai/data/refusal.hpp"
#include "cai/io/json.hpp"

namespace cai {
namespace {

const Regex& letter_or_digit() {
  static const Regex pattern("^[\\p{L}\\p{N}]$");
  return pattern;
}

// The characters of valid UTF-8, one a piece.
std::vector<std::string_view> characters_of(std::string_view text) {
  static const Regex character("(?s).");
  return character.all(text);
}

// The phrase's characters as a pattern: white space folded, apostrophes alike, all else literal.
std::string literal_pattern(const std::vector<std::string_view>& characters) {
  std::string pattern;
  for (const std::string_view c : characters) {
    const bool space = c == " " || c == "\n" || c == "\t";
    if (space)
      pattern += pattern.ends_with("\\s+") ? "" : "\\s+";
    else if (c == "'" || c == "\xe2\x80\x99" || c == "\xe2\x80\x98")
      pattern += "['\\x{2019}\\x{2018}]";
    else if (c.size() == 1 && !letter_or_digit().matches(c))
      pattern += "\\" + std::string(c);
    else
      pattern += c;
  }
  return pattern;
}

std::string list_of(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) {
    if (!out.empty()) out += ", ";
    out += in_quotes(text);
  }
  return out;
}

std::size_t count_of(AnswerRuleKind kind, std::string_view answer) {
  switch (kind) {
    case AnswerRuleKind::kCharacters: return count_characters(answer);
    case AnswerRuleKind::kWords: return count_words(answer);
    case AnswerRuleKind::kSentences: return count_sentences(answer);
    case AnswerRuleKind::kLines: return count_lines(answer);
    case AnswerRuleKind::kParagraphs: return count_paragraphs(answer);
    case AnswerRuleKind::kListItems: return count_list_items(answer);
    default: throw Bug("count_of: not a rule that counts");
  }
}

// "" when the count is within the rule's limits, else what was found and wanted.
std::string broken_count(const AnswerRule& rule, std::string_view answer) {
  const long count = static_cast<long>(count_of(rule.kind, answer));
  const std::string found = rule.name + ": " + std::to_string(count) + " found, ";
  if (count < rule.at_least) return found + "at least " + std::to_string(rule.at_least) + " wanted";
  if (count > rule.at_most) return found + "at most " + std::to_string(rule.at_most) + " wanted";
  return "";
}

// The texts of the rule whose patterns match.
std::vector<std::string> matched_texts(const AnswerRule& rule, std::string_view answer) {
  std::vector<std::string> matched;
  for (std::size_t i = 0; i < rule.patterns.size(); ++i) {
    if (rule.patterns[i].matches(answer)) matched.push_back(rule.texts[i]);
  }
  return matched;
}

std::string broken_patterns(const AnswerRule& rule, std::string_view answer) {
  const std::vector<std::string> matched = matched_texts(rule, answer);
  const std::string one_of = rule.texts.size() > 1 ? "one of " : "";
  switch (rule.kind) {
    case AnswerRuleKind::kAvoids: return matched.empty() ? "" : rule.name + ": found " + list_of(matched);
    case AnswerRuleKind::kContains:
      return matched.empty() ? rule.name + ": found none of " + list_of(rule.texts) : "";
    case AnswerRuleKind::kBeginsWith:
      return matched.empty() ? rule.name + ": it does not begin with " + one_of + list_of(rule.texts) : "";
    case AnswerRuleKind::kEndsWith:
      return matched.empty() ? rule.name + ": it does not end with " + one_of + list_of(rule.texts) : "";
    default: break;
  }
  std::vector<std::string> missing;
  for (const std::string& text : rule.texts) {
    if (std::find(matched.begin(), matched.end(), text) == matched.end()) missing.push_back(text);
  }
  return missing.empty() ? "" : rule.name + ": " + list_of(missing) + " missing";
}

std::string broken_json(const AnswerRule& rule, std::string_view answer) {
  Json value;
  try {
    value = parse_json(without_code_fence(answer), "answer");
  } catch (const InputError&) {
    return rule.wanted ? rule.name + ": not valid JSON" : "";
  }
  const bool structured = value.is_object() || value.is_array();
  if (!rule.wanted) return structured ? rule.name + ": the answer is JSON" : "";
  if (!structured) return rule.name + ": neither an object nor a list";
  for (const std::string& field : rule.texts) {
    if (!value.is_object() || !value.contains(field)) return rule.name + ": no field " + in_quotes(field);
  }
  return "";
}

// Too little text to tell the language does not break the rule.
std::string broken_language(const AnswerRule& rule, std::string_view answer) {
  const std::string found = language_of(answer);
  if (found.empty() || found == rule.texts.front()) return "";
  return rule.name + ": " + found + " found, " + rule.texts.front() + " wanted";
}

std::string broken_rule(const AnswerRule& rule, std::string_view request, std::string_view answer);

bool all_hold(const std::vector<AnswerRule>& rules, std::string_view request, std::string_view text) {
  return std::all_of(rules.begin(), rules.end(),
                     [&](const AnswerRule& rule) { return broken_rule(rule, request, text).empty(); });
}

std::string broken_any(const AnswerRule& rule, std::string_view request, std::string_view answer) {
  std::string reasons;
  for (const AnswerRule& one : rule.rules) {
    const std::string reason = broken_rule(one, request, answer);
    if (reason.empty()) return "";
    reasons += (reasons.empty() ? "" : "; ") + reason;
  }
  return "none of several holds (" + reasons + ")";
}

std::string broken_if(const AnswerRule& rule, std::string_view request, std::string_view answer) {
  if (!all_hold(rule.request, request, request) || !all_hold(rule.answer, request, answer)) return "";
  std::string reasons;
  for (const AnswerRule& one : rule.rules) {
    const std::string reason = broken_rule(one, request, answer);
    if (!reason.empty()) reasons += (reasons.empty() ? "" : "; ") + reason;
  }
  return reasons;
}

// "" when the rule holds, else why it does not.
std::string broken_rule(const AnswerRule& rule, std::string_view request, std::string_view answer) {
  switch (rule.kind) {
    case AnswerRuleKind::kJson: return broken_json(rule, answer);
    case AnswerRuleKind::kLanguage: return broken_language(rule, answer);
    case AnswerRuleKind::kAny: return broken_any(rule, request, answer);
    case AnswerRuleKind::kIf: return broken_if(rule, request, answer);
    case AnswerRuleKind::kRefuses:
      if (is_refusal(answer) == rule.wanted) return "";
      return rule.name + ": the answer " + (rule.wanted ? "does not refuse" : "refuses");
    case AnswerRuleKind::kContains:
    case AnswerRuleKind::kContainsAll:
    case AnswerRuleKind::kAvoids:
    case AnswerRuleKind::kBeginsWith:
    case AnswerRuleKind::kEndsWith: return broken_patterns(rule, answer);
    default: return broken_count(rule, answer);
  }
}

}  // namespace

bool bears_on(const AnswerCheck& check, std::string_view request) {
  const auto is_out = [&](const AnswerRule& rule) {
    if (rule.kind != AnswerRuleKind::kIf || rule.request.empty()) return false;
    try {
      return !all_hold(rule.request, request, request);
    } catch (const InputError&) {  // a pattern that takes too many steps: apply_check says so
      return false;
    }
  };
  return check.rules.empty() || !std::all_of(check.rules.begin(), check.rules.end(), is_out);
}

bool wants_refusal(const AnswerCheck& check) {
  return std::any_of(check.rules.begin(), check.rules.end(), [](const AnswerRule& rule) {
    return rule.kind == AnswerRuleKind::kRefuses && rule.wanted;
  });
}

Regex phrase_pattern(const std::string& phrase, AnswerRuleKind kind) {
  const std::vector<std::string_view> characters = characters_of(phrase);
  std::string pattern = literal_pattern(characters);
  if (characters.empty()) return Regex("(?!)", Regex::Case::kIgnored);
  if (letter_or_digit().matches(characters.front())) pattern = "(?<![\\p{L}\\p{N}])" + pattern;
  if (letter_or_digit().matches(characters.back())) pattern += "(?![\\p{L}\\p{N}])";
  if (kind == AnswerRuleKind::kBeginsWith) pattern = "^[\\s\"'\\x{201c}\\x{2018}(\\[*_]*" + pattern;
  if (kind == AnswerRuleKind::kEndsWith) pattern += "[\\s\"'\\x{201d}\\x{2019})\\]*_]*$";
  return Regex(pattern, Regex::Case::kIgnored);
}

CheckResult apply_check(const AnswerCheck& check, std::string_view request, std::string_view answer) {
  CheckResult result;
  if (check.empty()) return result;
  const std::string text = trim(answer);
  if (text.empty()) return {.share = 0, .broken = {"the answer is empty"}};
  for (const AnswerRule& rule : check.rules) {
    std::string reason;
    try {
      reason = broken_rule(rule, request, text);
    } catch (const InputError& e) {
      reason = rule.name + ": " + e.what();
    }
    if (!reason.empty()) result.broken.push_back(reason);
  }
  result.share = 1 - static_cast<double>(result.broken.size()) / static_cast<double>(check.rules.size());
  return result;
}

}  // namespace cai
