#include "cai/data/answer_check_yaml.hpp"

#include <algorithm>
#include <functional>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

constexpr int kDeepest = 4;  // rules inside rules
constexpr long kLargest = 100'000;

const std::map<std::string, AnswerRuleKind>& counts() {
  static const std::map<std::string, AnswerRuleKind> all = {
      {"characters", AnswerRuleKind::kCharacters}, {"words", AnswerRuleKind::kWords},
      {"sentences", AnswerRuleKind::kSentences},   {"lines", AnswerRuleKind::kLines},
      {"paragraphs", AnswerRuleKind::kParagraphs}, {"list_items", AnswerRuleKind::kListItems},
  };
  return all;
}

struct PatternRule {
  AnswerRuleKind kind;
  bool phrases;  // texts are phrases, not patterns
};

const std::map<std::string, PatternRule>& pattern_rules() {
  static const std::map<std::string, PatternRule> all = {
      {"contains", {AnswerRuleKind::kContains, true}},
      {"contains_all", {AnswerRuleKind::kContainsAll, true}},
      {"avoids", {AnswerRuleKind::kAvoids, true}},
      {"begins_with", {AnswerRuleKind::kBeginsWith, true}},
      {"ends_with", {AnswerRuleKind::kEndsWith, true}},
      {"matches", {AnswerRuleKind::kContains, false}},
      {"avoids_pattern", {AnswerRuleKind::kAvoids, false}},
  };
  return all;
}

const std::vector<std::string>& rule_names() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> names = {"any", "if_request", "if_answer", "json", "language", "refuses"};
    for (const auto& [name, kind] : counts())
      names.push_back(name);
    for (const auto& [name, rule] : pattern_rules())
      names.push_back(name);
    std::sort(names.begin(), names.end());
    return names;
  }();
  return all;
}

std::string accepted_names() {
  std::string all;
  for (const std::string& name : rule_names())
    all += (all.empty() ? "" : ", ") + name;
  return all;
}

class Reader {
 public:
  explicit Reader(YamlSection& section) : section_(section) {}

  std::vector<AnswerRule> rules(const YAML::Node& list, const std::string& key, int depth) {
    std::vector<AnswerRule> all;
    if (!list.IsSequence() || list.size() == 0) {
      section_.problem(list, "\"" + key + "\" must be a list of rules; accepted: " + accepted_names());
      return all;
    }
    if (depth > kDeepest) {
      section_.problem(list, "\"" + key + "\": rules are nested too deeply; accepted: at most 4 levels");
      return all;
    }
    for (const auto& entry : list) {
      if (!entry.IsMap() || entry.size() == 0) {
        section_.problem(
            entry, "\"" + key + "\": a rule is a field with a value, such as \"sentences: {at_most: 3}\"");
        continue;
      }
      all.push_back(entry["then"].IsDefined() ? conditional(entry, depth) : single(entry, depth));
    }
    return all;
  }

 private:
  AnswerRule conditional(const YAML::Node& entry, int depth) {
    AnswerRule rule{.kind = AnswerRuleKind::kIf, .name = "if"};
    for (const auto& field : entry) {
      const std::string name = field.first.Scalar();
      if (name == "if_request")
        rule.request = rules(field.second, name, depth + 1);
      else if (name == "if_answer")
        rule.answer = rules(field.second, name, depth + 1);
      else if (name == "then")
        rule.rules = rules(field.second, name, depth + 1);
      else
        section_.problem(field.first,
                         "unknown field " + in_quotes(name) + "; accepted: if_request, if_answer, then");
    }
    if (rule.request.empty() && rule.answer.empty())
      section_.problem(entry, "\"then\" needs \"if_request\" or \"if_answer\"");
    return rule;
  }

  AnswerRule single(const YAML::Node& entry, int depth) {
    const auto field = *entry.begin();
    const std::string name = field.first.IsScalar() ? field.first.Scalar() : "";
    AnswerRule rule{.name = name};
    if (entry.size() > 1)
      section_.problem(entry, "a rule has one field; begin a new entry with \"- \" for the next rule");
    if (const auto count = counts().find(name); count != counts().end()) {
      rule.kind = count->second;
      read_limits(field.second, rule);
    } else if (const auto pattern = pattern_rules().find(name); pattern != pattern_rules().end()) {
      rule.kind = pattern->second.kind;
      read_patterns(field.second, pattern->second.phrases, rule);
    } else if (name == "any") {
      rule.kind = AnswerRuleKind::kAny;
      rule.rules = rules(field.second, name, depth + 1);
    } else if (name == "json") {
      read_json(field.second, rule);
    } else if (name == "language") {
      read_language(field.second, rule);
    } else if (name == "refuses") {
      rule.kind = AnswerRuleKind::kRefuses;
      rule.wanted = flag(field.second, name);
    } else if (name == "if_request" || name == "if_answer") {
      section_.problem(field.first, "\"" + name + "\" needs a field \"then\" with rules");
    } else {
      const std::string near = nearest(name, rule_names());
      const std::string hint =
          near.empty() ? "accepted: " + accepted_names() : "did you mean \"" + near + "\"?";
      section_.problem(field.first, "unknown rule " + in_quotes(name) + "; " + hint);
    }
    return rule;
  }

  void read_limits(const YAML::Node& value, AnswerRule& rule) {
    if (!value.IsMap()) {
      section_.problem(value,
                       "\"" + rule.name + "\": accepted: {at_least: N, at_most: M}, one of both is enough");
      return;
    }
    YamlSection limits(value, section_.name() + ", " + rule.name, section_.file(), section_.problems());
    rule.at_least = static_cast<long>(limits.number("at_least", 0, 0, kLargest));
    rule.at_most = static_cast<long>(limits.number("at_most", kLargest, 0, kLargest));
    limits.finish();
    if (rule.at_least > rule.at_most) limits.problem("\"at_least\" is larger than \"at_most\"");
  }

  // A text or a list of texts.
  std::vector<std::string> texts(const YAML::Node& value, const std::string& name) {
    std::vector<std::string> all;
    const auto add = [&](const YAML::Node& one) {
      if (one.IsScalar() && !trim(one.Scalar()).empty())
        all.push_back(trim(one.Scalar()));
      else
        section_.problem(one, "\"" + name + "\" must be a text or a list of texts");
    };
    if (value.IsSequence()) {
      for (const auto& one : value)
        add(one);
    } else {
      add(value);
    }
    if (value.IsSequence() && value.size() == 0) section_.problem(value, "\"" + name + "\" is an empty list");
    return all;
  }

  void read_patterns(const YAML::Node& value, bool phrases, AnswerRule& rule) {
    for (const std::string& text : texts(value, rule.name)) {
      try {
        rule.patterns.push_back(pattern_of(text, phrases, rule.kind));
        rule.texts.push_back(text);
      } catch (const InputError& e) {
        section_.problem(value, "\"" + rule.name + "\": " + in_quotes(text) + ": " + e.what());
      }
    }
  }

  static Regex pattern_of(const std::string& text, bool phrases, AnswerRuleKind kind) {
    if (!phrases) return Regex(text);
    return phrase_pattern(text, kind);
  }

  void read_json(const YAML::Node& value, AnswerRule& rule) {
    rule.kind = AnswerRuleKind::kJson;
    if (!value.IsMap()) {
      rule.wanted = flag(value, rule.name);
      return;
    }
    YamlSection fields(value, section_.name() + ", json", section_.file(), section_.problems());
    rule.texts = fields.texts("fields");
    fields.finish();
  }

  void read_language(const YAML::Node& value, AnswerRule& rule) {
    rule.kind = AnswerRuleKind::kLanguage;
    const std::string code = value.IsScalar() ? trim(value.Scalar()) : "";
    rule.texts = {code};
    const std::vector<std::string>& known = known_languages();
    if (std::find(known.begin(), known.end(), code) != known.end()) return;
    std::string accepted;
    for (const std::string& one : known)
      accepted += (accepted.empty() ? "" : ", ") + one;
    section_.problem(value, "\"language\": found " + in_quotes(code) + "; accepted: " + accepted);
  }

  bool flag(const YAML::Node& value, const std::string& name) {
    if (value.IsScalar() && (value.Scalar() == "true" || value.Scalar() == "false"))
      return value.Scalar() == "true";
    section_.problem(value, "\"" + name + "\": accepted: true or false");
    return true;
  }

  YamlSection& section_;
};

}  // namespace

AnswerCheck read_check(YamlSection& section, const std::string& key) {
  const YAML::Node list = section.find(key);
  if (!list.IsDefined()) return {};
  YAML::Emitter source;
  source.SetMapFormat(YAML::Flow);
  source.SetSeqFormat(YAML::Flow);
  source << list;
  return {.rules = Reader(section).rules(list, key, 1), .source = one_line(source.c_str())};
}

}  // namespace cai
