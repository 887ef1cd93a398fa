// Whether one answer goes against one principle, by a model that judges: asked in both orders of the options,
// read off the probabilities of (A) and (B). The same question as in compare.hpp, of one answer.
#pragma once

#include <string>
#include <vector>

#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"

namespace cai {

struct PrincipleAsk {
  const std::string *prompt, *answer;
  const Principle* principle;
};

struct OneVerdict {
  bool is_usable = false;        // both orders gave an answer with enough probability on A and B
  double first = 0, second = 0;  // log-odds that the answer goes against the principle, in each order
  std::string problem;           // why it is not usable, as in compare.hpp
  double log_odds() const { return (first + second) / 2; }
  bool orders_agree() const { return (first > 0) == (second > 0); }
};

/// How judge_ones() puts one question to a model; options " A", " B". `swapped`: (A) says that the answer
/// follows the principle. Request and answer are quoted line by line, so that nothing in them can pass for
/// the question.
Choice one_choice(const PrincipleAsk& ask, bool swapped);

/// Asks all of them, one verdict each. `minimum_mass`: P(A) + P(B) below which an answer does not count.
std::vector<OneVerdict> judge_ones(const std::vector<PrincipleAsk>& asks, double minimum_mass,
                                   Speaker& judge);

}  // namespace cai
