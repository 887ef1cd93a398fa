#include "cai/stages/checking.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "cai/base/text.hpp"
#include "cai/data/check_scope.hpp"
#include "cai/data/refusal.hpp"
#include "cai/stages/clean.hpp"
#include "cai/stages/overlap.hpp"
#include "cai/stages/sentences.hpp"

namespace cai {
std::vector<Checked> check_principles(const Constitution& constitution, const std::vector<std::string>& tags,
                                      std::string_view request, std::string_view answer) {
  std::vector<Checked> all;
  for (const Principle& principle : constitution.principles) {
    if (principle.check.empty() || !principle.applies(tags)) continue;
    if (!bears_on(principle.check, request)) continue;
    const CheckResult result = apply_check(principle.check, request, answer);
    std::string broken;
    for (const std::string& one : result.broken)
      broken += (broken.empty() ? "" : "; ") + one;
    all.push_back({&principle, result.share, broken});
  }
  return all;
}

std::vector<Checked> follow_principles(const Constitution& constitution, const std::vector<std::string>& tags,
                                       std::string_view request, std::string_view answer) {
  std::vector<Checked> all = check_principles(constitution, tags, request, answer);
  if (all.empty()) return all;
  if (const std::string fault = answer_fault(request, answer); !fault.empty()) {
    for (Checked& one : all) {
      one.share = 0;
      one.broken = "no answer to the request: " + fault;
    }
  }
  return all;
}

double principle_weight(const Principle& principle) {
  const int tier = principle.hard ? 0 : std::max(1, principle.priority);
  return principle.weight * std::pow(0.5, tier - 1);
}

double check_score(const std::vector<Checked>& checked) {
  double sum = 0, weights = 0;
  for (const Checked& one : checked) {
    const double weight = principle_weight(*one.principle);
    sum += weight * one.share;
    weights += weight;
  }
  return weights > 0 ? sum / weights : 1;
}

Json broken_by_principle(const std::vector<Checked>& checked) {
  Json broken = Json::object();
  for (const Checked& one : checked)
    broken[one.principle->id] = one.broken;
  return broken;
}

bool evades(std::string_view text) {
  if (is_refusal(text)) return true;
  const std::string lower = lower_ascii(text);
  static const char* const phrases[] = {"more context",       "more information",      "more details",
                                        "not clear what",     "question is not clear", "request is not clear",
                                        "enough information", "please clarify",        "could you clarify",
                                        "can you clarify"};
  return std::any_of(std::begin(phrases), std::end(phrases),
                     [&](const char* phrase) { return lower.find(phrase) != lower.npos; });
}

bool talks_of_answers(std::string_view text) {
  if (is_meta(text)) return true;
  const std::string lower = lower_ascii(text);
  const auto is_in = [&](const char* phrase) { return lower.find(phrase) != lower.npos; };
  static const char* const phrases[] = {
      "the assistant",         "this assistant",   "the revised",   "my revised",      "the critique",
      "your critique",         "this principle",   "the principle", "this rule",       "the rule that",
      "according to the rule", "the rewritten",    "last answer",   "previous answer", "rewritten answer",
      "as requested, i have",  "i have rewritten", "i've rewritten"};
  return std::any_of(std::begin(phrases), std::end(phrases), is_in);
}

namespace {

bool is_question(const std::string& sentence) {
  const std::size_t last = sentence.find_last_not_of(" \t\n\"')*_");
  return last != sentence.npos && sentence[last] == '?';
}

// Praise of the request and thanks for it: words that fit every request.
bool is_courtesy(const std::string& sentence) {
  static const char* const phrases[] = {"great question", "good question",      "interesting question",
                                        "well done",      "thank you for",      "thanks for",
                                        "great example",  "glad you asked",     "happy to help",
                                        "here to help",   "you have asked for", "you asked for"};
  return std::any_of(std::begin(phrases), std::end(phrases),
                     [&](const char* phrase) { return sentence.find(phrase) != sentence.npos; });
}

// What an answer says of its own: neither a question nor a courtesy.
std::string statements_of(std::string_view answer) {
  std::string said;
  for (const std::string& sentence : sentences_of(answer))
    if (!is_question(sentence) && !is_courtesy(sentence)) said += (said.empty() ? "" : "\n") + sentence;
  return said;
}

}  // namespace

std::string answer_fault(std::string_view request, std::string_view answer) {
  if (words_of(answer).size() < 3) return "empty";
  if (is_repeated(answer)) return "repeated";
  if (jaccard(word_grams(words_of(answer), 3), word_grams(words_of(request), 3)) > 0.8) return "copy";
  if (talks_of_answers(answer)) return "meta";
  if (is_refusal(answer)) return "";
  // A question that repeats the request's words would be on its topic and answer nothing.
  const std::string said = statements_of(answer);
  if (words_of(said).size() < 2) return "asks-back";
  return is_on_topic(request, said) ? "" : "off-topic";
}

bool echoes(std::string_view source, std::string_view text) {
  constexpr std::size_t kWords = 6;
  const std::vector<std::string> said = words_of(source);
  if (said.size() < kWords) return false;
  const std::vector<std::uint64_t> known = word_grams(said, kWords),
                                   mine = word_grams(words_of(text), kWords);
  return std::any_of(mine.begin(), mine.end(), [&](std::uint64_t gram) {
    return std::binary_search(known.begin(), known.end(), gram);
  });
}

}  // namespace cai
