#include "cai/stages/revise_words.hpp"

#include "cai/base/text.hpp"
#include "cai/data/check_scope.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/principles.hpp"

namespace cai {
namespace {

// The words that a check wants at the beginning, whichever principle has it, one drawn by seed; or "".
std::string checked_opening(const Constitution& constitution, const Json& record, Random random) {
  for (const Principle& principle : constitution.principles) {
    if (!principle.applies(tags_of(record))) continue;
    for (const AnswerRule& rule : principle.check.rules) {
      if (rule.kind != AnswerRuleKind::kBeginsWith) continue;
      std::string opening = rule.texts[random.below(rule.texts.size())];
      if (opening[0] >= 'a' && opening[0] <= 'z') opening[0] = static_cast<char>(opening[0] - 'a' + 'A');
      return opening;
    }
  }
  return "";
}

// Whether the revision is to decline the request: its principle has no check, or one that wants a refusal.
bool is_to_decline(const Principle& principle, const Json& record) {
  return optional_flag(record, "decline") && (principle.check.empty() || wants_refusal(principle.check));
}

// Openings of a principle that a program verifies: the first that has some and bears on the record, this one
// before the others.
std::vector<std::string> verified_openings(const Constitution& constitution, const Principle& principle,
                                           const Json& record) {
  if (!principle.revision_openings.empty()) return principle.revision_openings;
  for (const Principle& other : constitution.principles)
    if (is_by_rule(other, record) && other.applies(tags_of(record)) && !other.revision_openings.empty())
      return other.revision_openings;
  return {};
}

std::string draw_one(const std::vector<std::string>& openings, Random random) {
  return openings.empty() ? "" : openings[random.below(openings.size())];
}

}  // namespace

bool is_by_rule(const Principle& principle, const Json& record) {
  return !principle.check.empty() && !is_to_decline(principle, record);
}

std::string draw_opening(const ReviseConfig& config, const Constitution& constitution,
                         const Principle& principle, const Json& record, Random random) {
  if (!config.openings) return "";
  if (is_by_rule(principle, record)) {
    const std::string opening = checked_opening(constitution, record, random);
    return opening.empty() ? draw_one(verified_openings(constitution, principle, record), random) : opening;
  }
  const std::string kind = kind_of(record);
  const bool is_harmless = kind == "ordinary" || kind == "borderline";
  if (!is_harmless && !optional_flag(record, "decline")) return "";
  const bool needs_ours = principle.revision_openings.empty() && !is_harmless;
  return draw_one(needs_ours ? decline_openings(constitution) : principle.revision_openings, random);
}

std::string rules_of(const Constitution& constitution, const std::vector<std::string>& tags) {
  std::string rules = "You rewrite answers so that they follow these rules:";
  for (const Principle& p : constitution.principles)
    if (!p.check.empty() && p.applies(tags)) rules += "\n- " + p.text;
  return rules + "\nA new answer answers the request, and says nothing about the rules.";
}

std::string revision_request(const Principle& principle, const Json& record) {
  if (!is_by_rule(principle, record)) return principle.revision;
  return "Write a better answer to this request:\n" + quoted_lines(optional_text(record, "prompt")) +
         "\nYour answer must follow this rule: " + principle.text + " Write the answer only.";
}

}  // namespace cai
