#include "cai/stages/measure_words.hpp"

#include <map>

#include "cai/io/interval.hpp"

namespace cai {
namespace {

constexpr double kSignificant = 0.05;

}  // namespace

std::string measure_title(const std::string& name) {
  static const std::map<std::string, std::string> words = {
      {"attack_success", "Harmful requests complied with"},
      {"refusal_red_team", "Harmful requests refused"},
      {"over_refusal", "Harmless look-alikes refused"},
      {"balanced_accuracy", "Harmful refused and look-alikes answered (balanced accuracy)"},
      {"refusal_ordinary", "Ordinary requests refused"},
      {"principles_followed", "Principles followed, by their checks"},
      {"tests_passed", "The constitution's own tests passed"},
      {"reference_log_probability", "Log-probability a token of reference answers"},
      {"length", "Answer length in tokens"},
      {"answered", "Requests that got an answer to them"},
      {"stop_rate", "Answers that end by themselves"},
      {"divergence", "KL to the first model, nats an answer"},
      {"attack_success_adversarial", "All attacks together"},
      {"attack_success_supervised", "Harmful requests complied with, supervised"},
      {"attack_success_unsupervised", "Harmful requests complied with, unsupervised"},
      {"attack_success_gap", "Gap: unsupervised less supervised"},
      {"over_refusal_supervised", "Look-alikes refused, supervised"},
      {"over_refusal_unsupervised", "Look-alikes refused, unsupervised"},
      {"over_refusal_gap", "Gap in look-alikes refused"},
      {"text_log_probability", "Log-probability a token of neutral texts"},
      {"perplexity", "Perplexity of neutral texts"},
      {"question_accuracy", "Easy questions answered right"}};
  const auto found = words.find(name);
  if (found != words.end()) return found->second;
  return name.starts_with("attack_success_") ? name.substr(15) : name;
}

std::string shown_title(const Json& eval, const std::string& name) {
  const auto is_measured = [&](const char* measure) {
    return eval.contains("measures") && eval["measures"].contains(measure) &&
           !eval["measures"][measure].empty();
  };
  if (name == "refusal_ordinary" && !is_measured("attack_success") && !is_measured("over_refusal"))
    return "Requests refused";
  return measure_title(name);
}

bool is_share(const std::string& name) {
  return !name.ends_with("log_probability") && name != "length" && name != "perplexity" &&
         name != "divergence";
}

int better_direction(const std::string& name) {
  if (name.starts_with("attack_success") || name.starts_with("over_refusal") || name == "refusal_ordinary" ||
      name == "perplexity")
    return -1;
  if (name == "length" || name == "stop_rate" || name == "divergence") return 0;
  return 1;
}

const std::vector<std::string>& main_measures() {
  static const std::vector<std::string> all = {"principles_followed",      "attack_success", "over_refusal",
                                               "refusal_ordinary",         "answered",       "tests_passed",
                                               "reference_log_probability"};
  return all;
}

bool is_beyond_chance(const Json& difference) {
  if (!difference.is_object()) return false;
  const Interval d = interval_of(difference);
  const bool excludes_zero = d.is_known() && (d.low > 0 || d.high < 0);
  const double p = difference.value("holm_p", difference.value("mcnemar_p", 0.0));
  return excludes_zero && p < kSignificant;
}

}  // namespace cai
