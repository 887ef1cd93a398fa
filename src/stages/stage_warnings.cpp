#include "cai/stages/stage_warnings.hpp"

#include <algorithm>
#include <cmath>

#include "cai/stages/language.hpp"

namespace cai {
namespace {

constexpr double kFewPrompts = 30;

double number_in(const Json& figures, const char* name) {
  return figures.contains(name) && figures[name].is_number() ? figures[name].get<double>() : 0;
}

std::string whole(double v) {
  return std::to_string(std::lround(v));
}

// "off-topic 11, cut 2": why records are left out, the most frequent reason first.
std::string reasons_of(const Json& figures) {
  std::vector<std::pair<long, std::string>> reasons;
  if (figures.contains("problems") && figures["problems"].is_object())
    for (const auto& [name, n] : figures["problems"].items())
      if (n.is_number() && !name.empty() && name != "none-asked") reasons.push_back({n.get<long>(), name});
  std::sort(reasons.rbegin(), reasons.rend());
  std::string text;
  for (const auto& [n, name] : reasons)
    text += (text.empty() ? "" : ", ") + name + " " + std::to_string(n);
  return text;
}

// Of revise: most of what was asked for cannot be trained on.
std::string revision_warning(const Json& figures) {
  const double asked = number_in(figures, "revisions"), kept = number_in(figures, "usable");
  if (asked == 0 || kept >= asked / 2) return "";
  const std::string why = reasons_of(figures);
  return "only " + whole(kept) + " of " + whole(asked) + " revisions can be trained on" +
         (why.empty() ? "" : " (left out: " + why + ")");
}

// Of label by choice: what the judge sees is the place of an answer, or not the question.
std::vector<std::string> judge_warnings(const Json& figures) {
  std::vector<std::string> lines;
  if (!figures.contains("first_slot") || !figures["first_slot"].is_object()) return lines;
  const double first = number_in(figures["first_slot"], "value"),
               asked = number_in(figures["first_slot"], "n");
  if (asked >= 10 && (first >= 0.9 || first <= 0.1))
    lines.push_back("the judge took the first answer in " + whole(100 * first) + " % of " + whole(asked) +
                    " questions: it sees the place of an answer, and its labels say little");
  // Where checks decide every pair, the judge is not asked at all.
  if (asked > 0 && figures.contains("mean_mass") && number_in(figures, "mean_mass") < 0.5)
    lines.push_back("the judge gave the options A and B together a probability of " +
                    whole(100 * number_in(figures, "mean_mass")) + " % on average: it hardly takes part");
  return lines;
}

std::string tie_warning(const Json& figures) {
  const double ties = number_in(figures, "ties"), judged = number_in(figures, "judged");
  if (judged == 0 || ties < judged / 2) return "";
  return whole(ties) + " of " + whole(judged) + " labels are ties, and nothing is learned from those";
}

// Of eval: how many held-out prompts the largest measure has.
std::string few_prompts(const Json& figures) {
  if (!figures.contains("measures") || !figures["measures"].is_object()) return "";
  double most = 0;
  for (const Json& by_model : figures["measures"])
    if (by_model.is_object())
      for (const Json& one : by_model)
        if (one.is_object()) most = std::max(most, number_in(one, "n"));
  if (most == 0 || most >= kFewPrompts) return "";
  return whole(most) + (most == 1 ? " held-out prompt is" : " held-out prompts are") +
         " too few for a conclusion";
}

std::vector<std::string> language_warnings(const Json& figures) {
  std::vector<std::string> lines;
  if (!figures.contains("language") || !figures["language"].is_object()) return lines;
  const Json& language = figures["language"];
  if (language.contains("english")) return {language_warning(language)};
  for (const auto& [model, one] : language.items())
    if (const std::string text = language_warning(one); !text.empty()) lines.push_back(model + ": " + text);
  return lines;
}

}  // namespace

std::vector<std::string> warnings_of(const std::string& stage, const Json& figures) {
  std::vector<std::string> lines;
  if (!figures.is_object()) return lines;
  const auto add = [&](const std::string& text) {
    if (!text.empty()) lines.push_back(stage + ": " + text + ".");
  };
  if (figures.contains("doubts") && figures["doubts"].is_array())  // of the reward model
    for (const Json& doubt : figures["doubts"])
      add(doubt.is_string() ? doubt.get<std::string>() : "");
  add(revision_warning(figures));
  for (const std::string& text : judge_warnings(figures))
    add(text);
  add(tie_warning(figures));
  add(few_prompts(figures));
  for (const std::string& text : language_warnings(figures))
    add(text);
  return lines;
}

}  // namespace cai
