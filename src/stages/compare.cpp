#include "cai/stages/compare.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "cai/base/text.hpp"
#include "cai/stages/clean.hpp"

namespace cai {
namespace {

constexpr const char* kAnswer = "Better answer:";

std::string question(const std::string& prompt, const std::string& a, const std::string& b, const std::string& compare) {
  return "Request: " + prompt + "\n\nAnswer A: " + a + "\n\nAnswer B: " + b + "\n\n" + compare + " Reply with A or B.";
}

}  // namespace

std::vector<Message> label_exemplars(const std::vector<LabelExample>& examples, long most, bool with_reason) {
  std::vector<Message> turns;
  const std::size_t n = std::min(examples.size(), static_cast<std::size_t>(std::max(0L, most)));
  for (std::size_t i = 0; i < n; ++i) {
    const LabelExample& e = examples[i];
    turns.push_back({"user", question(e.prompt, e.a, e.b, "Which answer is better?")});
    turns.push_back({"assistant", (with_reason ? e.reason + "\n" : "") + kAnswer + " " + e.better});
  }
  return turns;
}

Choice comparison_choice(const std::vector<Message>& exemplars, const Comparison& c, bool swapped) {
  Choice choice{.messages = exemplars, .opening = kAnswer, .options = {" A", " B"}};
  choice.messages.push_back({"user", question(*c.prompt, swapped ? *c.b : *c.a, swapped ? *c.a : *c.b, c.principle->compare)});
  return choice;
}

std::vector<Verdict> compare(const LabelConfig& config, const std::vector<Message>& exemplars, const std::vector<Comparison>& comparisons, Speaker& judge) {
  std::vector<Choice> choices;
  for (const Comparison& c : comparisons)
    for (const bool swapped : {false, true}) choices.push_back(comparison_choice(exemplars, c, swapped));
  std::vector<std::string> words(choices.size());
  if (config.chain_of_thought) {
    std::vector<Ask> asks;
    for (std::size_t i = 0; i < choices.size(); ++i)
      asks.push_back({.messages = choices[i].messages, .max_new_tokens = static_cast<int>(config.max_reason_tokens),
                      .temperature = 0, .random = comparisons[i / 2].random.derive(i % 2)});  // greedy, as in Lee et al. 2023
    judge.say(asks, [&](std::size_t i, Reply reply) {
      // The reasoning ends where the verdict starts: that is asked for its probability.
      std::string text = reply.text.substr(0, reply.text.find(kAnswer));
      words[i] = trim(reply.finish == "stop" ? text : cut_at_sentence(text).empty() ? text : cut_at_sentence(text));
    });
    for (std::size_t i = 0; i < choices.size(); ++i)
      if (!words[i].empty()) choices[i].opening = words[i] + "\n" + kAnswer;
  }
  const std::vector<std::vector<double>> answers = judge.choose(choices);
  std::vector<Verdict> verdicts(comparisons.size());
  for (std::size_t i = 0; i < comparisons.size(); ++i) {
    // An endpoint may show one option only among its top tokens: then the other one is at most as likely as the least shown.
    const auto odds = [](const std::vector<double>& x) -> std::optional<double> {
      if (x.size() != 2 || (!std::isfinite(x[0]) && !std::isfinite(x[1]))) return std::nullopt;
      return std::clamp(x[0] - x[1], -15.0, 15.0);
    };
    const auto first = odds(answers[2 * i]), second = odds(answers[2 * i + 1]);
    if (first && second) verdicts[i] = {true, *first, -*second, words[2 * i]};
  }
  return verdicts;
}

}  // namespace cai
