#include "cai/stages/compare.hpp"

#include <algorithm>
#include <cmath>

#include "cai/base/text.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/choice_odds.hpp"
#include "cai/stages/sentences.hpp"

namespace cai {
namespace {

constexpr const char* kAnswer = "Better answer:";
constexpr double kMostOdds = 15;

std::string question(const std::string& prompt, const std::string& a, const std::string& b,
                     const std::string& compare, bool with_reason) {
  return "Request:\n" + quoted_lines(prompt) + "\n\nAnswer A:\n" + quoted_lines(a) + "\n\nAnswer B:\n" +
         quoted_lines(b) + "\n\n" + compare +
         (with_reason ? " Think step by step in a few sentences, then end with \"Better answer: A\" or "
                        "\"Better answer: B\"."
                      : " Reply with A or B.");
}

// Asks for the reasoning of each question and puts it in front of its choice.
std::vector<std::string> reason_first(const LabelConfig& config, const std::vector<Comparison>& comparisons,
                                      std::vector<Choice>& choices, Speaker& judge) {
  std::vector<std::string> words(choices.size());
  std::vector<Ask> asks;
  for (std::size_t i = 0; i < choices.size(); ++i)
    asks.push_back({.messages = choices[i].messages,
                    .max_new_tokens = static_cast<int>(config.max_reason_tokens),
                    .temperature = 0,
                    .random = comparisons[i / 2].random.derive(i % 2)});  // greedy, as in Lee et al. 2023
  judge.say(asks, [&](std::size_t i, Reply reply) {
    // The reasoning ends where the verdict starts: that is asked for its probability.
    const std::string text = reply.text.substr(0, reply.text.rfind(kAnswer)), whole = cut_at_sentence(text);
    words[i] = trim(reply.finish == "stop" || whole.empty() ? text : whole);
  });
  for (std::size_t i = 0; i < choices.size(); ++i)
    if (!words[i].empty()) choices[i].opening = words[i] + "\n" + kAnswer;
  return words;
}

}  // namespace

double choice_odds(const Chosen& decision, double minimum_mass, std::string& problem) {
  const std::vector<double>& x = decision.log_probabilities;
  const bool is_whole = x.size() == 2 && (std::isfinite(x[0]) || std::isfinite(x[1]));
  if (!decision.problem.empty())
    problem = decision.problem;
  else if (!is_whole)
    problem = "no answer";
  else if (decision.mass < minimum_mass)
    problem = "off format";
  return is_whole ? std::clamp(x[0] - x[1], -kMostOdds, kMostOdds) : 0;
}

const Principle& no_principle() {
  static const Principle neutral{
      .id = "", .compare = "Which answer is better for the person who asks, without harm to anybody else?"};
  return neutral;
}

std::vector<Message> label_exemplars(const std::vector<LabelExample>& examples, long most, bool with_reason) {
  std::vector<Message> turns;
  const std::size_t n = std::min(examples.size(), static_cast<std::size_t>(std::max(0L, most)));
  for (std::size_t i = 0; i < n; ++i) {
    const LabelExample& e = examples[i];
    turns.push_back({"user", question(e.prompt, e.a, e.b, "Which answer is better?", with_reason)});
    turns.push_back({"assistant", (with_reason ? e.reason + "\n" : "") + kAnswer + " " + e.better});
  }
  return turns;
}

Choice comparison_choice(const std::vector<Message>& exemplars, const Comparison& c, bool swapped,
                         bool with_reason) {
  Choice choice{.messages = exemplars, .opening = kAnswer, .options = {" A", " B"}};
  choice.messages.push_back({"user", question(*c.prompt, swapped ? *c.b : *c.a, swapped ? *c.a : *c.b,
                                              c.principle->compare, with_reason)});
  return choice;
}

std::vector<Verdict> compare(const LabelConfig& config, const std::vector<Message>& exemplars,
                             const std::vector<Comparison>& comparisons, Speaker& judge,
                             const std::function<void()>& decided) {
  std::vector<Choice> choices;
  for (const Comparison& c : comparisons)
    for (const bool swapped : {false, true})
      choices.push_back(comparison_choice(exemplars, c, swapped, config.chain_of_thought));
  std::vector<std::string> words(choices.size());
  if (config.chain_of_thought) words = reason_first(config, comparisons, choices, judge);
  const std::vector<Chosen> decisions = judge.decide(choices, decided);
  std::vector<Verdict> verdicts(comparisons.size());
  for (std::size_t i = 0; i < comparisons.size(); ++i) {
    Verdict& v = verdicts[i];
    const Chosen &one = decisions[2 * i], &two = decisions[2 * i + 1];
    std::string problem_two;
    v.first = choice_odds(one, config.minimum_mass, v.problem);
    v.second = -choice_odds(two, config.minimum_mass, problem_two);
    if (v.problem.empty()) v.problem = problem_two;
    v.is_usable = v.problem.empty();
    if (!v.is_usable) v.first = v.second = 0;
    v.words = words[2 * i], v.words_swapped = words[2 * i + 1];
    v.mass = (one.mass + two.mass) / 2;
    v.samples = std::max(one.samples, two.samples);
  }
  return verdicts;
}

std::string problem_kind(const std::string& problem) {
  return problem.substr(0, problem.find(':'));
}

}  // namespace cai
