#include "cai/stages/mending.hpp"

#include <algorithm>

#include "cai/base/text.hpp"
#include "cai/stages/sentences.hpp"

namespace cai {
namespace {

// The text in its sentences, with the white space before each.
std::vector<std::string> pieces_of(std::string_view text) {
  std::vector<std::string> pieces;
  std::size_t from = 0;
  while (from < text.size()) {
    const std::string_view rest = text.substr(from);
    const std::string sentence = first_sentences(rest, 1);
    const std::size_t size = std::max<std::size_t>(1, rest.find(sentence) + sentence.size());
    pieces.emplace_back(rest.substr(0, size));
    from += size;
    if (trim(text.substr(from)).empty()) break;
  }
  return pieces;
}

std::string joined(const std::vector<std::string>& pieces, std::size_t n) {
  std::string text;
  for (std::size_t i = 0; i < n; ++i)
    text += pieces[i];
  return trim(text);
}

bool holds(const AnswerRule& rule, std::string_view request, const std::string& answer) {
  AnswerCheck check;
  check.rules = {rule};
  return apply_check(check, request, answer).holds();
}

std::string capitalised(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

using Mends = std::vector<Mend>;

// The longest beginning that holds.
Mends shortened(const AnswerRule& rule, std::string_view request, const std::vector<std::string>& pieces) {
  for (std::size_t n = pieces.size() - 1; n > 0; --n)
    if (const std::string text = joined(pieces, n); holds(rule, request, text)) return {{.text = text}};
  return {};
}

// Without the sentences that break the rule by themselves.
Mends without_broken(const AnswerRule& rule, std::string_view request,
                     const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces)
    if (holds(rule, request, trim(piece))) text += piece;
  text = trim(text);
  return text.empty() || !holds(rule, request, text) ? Mends() : Mends{{.text = text}};
}

// What stays of an answer that goes on: all of it, and it without its last sentence, for a limit may leave no
// room for one more.
std::vector<std::string> stems(const std::vector<std::string>& pieces) {
  std::vector<std::string> all;
  for (std::size_t n = pieces.size(); n > 0 && n + 2 > pieces.size(); --n) {
    std::string text = joined(pieces, n);
    if (cut_at_sentence(text) != text) text += '.';
    all.push_back(text);
  }
  return all;
}

Mends with_sentence(const std::vector<std::string>& pieces, const std::string& begun,
                    const std::string& end) {
  Mends all;
  for (const std::string& text : stems(pieces))
    all.push_back({text, begun, end});
  return all;
}

Mends with_end(const AnswerRule& rule, const std::vector<std::string>& pieces, Random random) {
  static const std::vector<std::string> questions = {"Would you like", "Do you",    "Is there", "What",
                                                     "Which",          "How would", "Have you", "Does this"};
  const std::string& end = rule.texts[random.below(rule.texts.size())];
  if (end == "?") return with_sentence(pieces, questions[random.below(questions.size())], end);
  Mends all;
  for (const std::string& text : stems(pieces))
    all.push_back({.text = text + " " + capitalised(end)});
  return all;
}

// A sentence that begins as it should, or with what the rule misses.
Mends with_phrase(const AnswerRule& rule, std::string_view request, const std::vector<std::string>& pieces,
                  Random random, const std::vector<std::string>& beginnings) {
  if (!beginnings.empty()) return with_sentence(pieces, beginnings[random.below(beginnings.size())], "");
  std::vector<std::string> missing;
  for (std::size_t i = 0; i < rule.texts.size(); ++i) {
    AnswerRule one = rule;
    one.texts = {rule.texts[i]};
    one.patterns = {rule.patterns[i]};
    if (!holds(one, request, joined(pieces, pieces.size()))) missing.push_back(rule.texts[i]);
  }
  if (missing.empty() || rule.name == "matches") return {};
  return with_sentence(pieces, capitalised(missing[random.below(missing.size())]), "");
}

Mends with_more_of_it(const std::vector<std::string>& pieces, Random random) {
  static const std::vector<std::string> subjects = {"This", "It", "Another", "They", "In addition"};
  return with_sentence(pieces, subjects[random.below(subjects.size())], "");
}

bool counts(AnswerRuleKind kind) {
  return kind == AnswerRuleKind::kCharacters || kind == AnswerRuleKind::kWords ||
         kind == AnswerRuleKind::kSentences || kind == AnswerRuleKind::kLines ||
         kind == AnswerRuleKind::kParagraphs;
}

Mends mends_of(const AnswerRule& rule, std::string_view request, const std::vector<std::string>& pieces,
               Random random, const std::vector<std::string>& beginnings) {
  if (counts(rule.kind)) {
    const Mends shorter = shortened(rule, request, pieces);
    const bool is_short = shorter.empty() && rule.at_least > 0 && rule.kind != AnswerRuleKind::kLines &&
                          rule.kind != AnswerRuleKind::kParagraphs;
    return is_short ? with_more_of_it(pieces, random) : shorter;
  }
  if (rule.kind == AnswerRuleKind::kAvoids) return without_broken(rule, request, pieces);
  if (rule.kind == AnswerRuleKind::kEndsWith) return with_end(rule, pieces, random);
  if (rule.kind == AnswerRuleKind::kContains || rule.kind == AnswerRuleKind::kContainsAll)
    return with_phrase(rule, request, pieces, random, beginnings);
  if (rule.kind != AnswerRuleKind::kAny && rule.kind != AnswerRuleKind::kIf) return {};
  for (const AnswerRule& inner : rule.rules) {
    if (holds(inner, request, joined(pieces, pieces.size()))) continue;
    if (Mends found = mends_of(inner, request, pieces, random, beginnings); !found.empty()) return found;
  }
  return {};
}

}  // namespace

std::vector<Mend> mends(const AnswerCheck& check, std::string_view request, std::string_view answer,
                        Random random, const std::vector<std::string>& beginnings) {
  const std::vector<std::string> pieces = pieces_of(answer);
  if (pieces.empty()) return {};
  for (const AnswerRule& rule : check.rules) {
    if (holds(rule, request, std::string(answer))) continue;
    if (Mends found = mends_of(rule, request, pieces, random, beginnings); !found.empty()) return found;
  }
  return {};
}

std::string mended(const Mend& mend, std::string_view reply) {
  if (!reply.starts_with(mend.opening())) return "";
  const std::string added = first_sentences(reply.substr(mend.text.size()), 1);
  const bool is_whole = cut_at_sentence(added) == added && added.ends_with(mend.end);
  return is_whole ? mend.text + " " + added : "";
}

}  // namespace cai
