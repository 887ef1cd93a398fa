#include "cai/stages/judge_one.hpp"

#include "cai/stages/asking.hpp"
#include "cai/stages/choice_odds.hpp"

namespace cai {

Choice one_choice(const PrincipleAsk& ask, bool swapped) {
  const char *const against = "The answer goes against the principle.",
                    *const follows =
                        "The answer follows the principle, or the principle says nothing about it.";
  Choice choice{.opening = "Letter:", .options = {" A", " B"}};
  choice.messages = {{"user", "Request:\n" + quoted_lines(*ask.prompt) + "\n\nAnswer:\n" +
                                  quoted_lines(*ask.answer) + "\n\nPrinciple: " + ask.principle->text +
                                  "\n\n(A) " + (swapped ? follows : against) + "\n(B) " +
                                  (swapped ? against : follows) +
                                  "\n\nWhich is true of this answer? Reply with A or B."}};
  return choice;
}

std::vector<OneVerdict> judge_ones(const std::vector<PrincipleAsk>& asks, double minimum_mass,
                                   Speaker& judge) {
  std::vector<Choice> choices;
  for (const PrincipleAsk& ask : asks)
    for (const bool swapped : {false, true})
      choices.push_back(one_choice(ask, swapped));
  const std::vector<Chosen> decisions = judge.decide(choices, {});
  std::vector<OneVerdict> verdicts(asks.size());
  for (std::size_t i = 0; i < asks.size(); ++i) {
    OneVerdict& v = verdicts[i];
    std::string problem;
    v.first = choice_odds(decisions[2 * i], minimum_mass, v.problem);
    v.second = -choice_odds(decisions[2 * i + 1], minimum_mass, problem);
    if (v.problem.empty()) v.problem = problem;
    v.is_usable = v.problem.empty();
  }
  return verdicts;
}

}  // namespace cai
