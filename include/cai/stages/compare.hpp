// Which of two answers a model prefers under a principle: asked in both orders, read off the probabilities of
// (A) and (B).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"

namespace cai {

/// The exemplars as chat turns, the same for every question: computed once.
std::vector<Message> label_exemplars(const std::vector<LabelExample>& examples, long most, bool with_reason);

/// One comparison under one principle.
struct Comparison {
  const std::string *prompt, *a, *b;
  const Principle* principle;
  Random random;
};

/// How compare() puts one comparison to a model, with a first or (swapped) with b first. Options: " A", " B".
/// Request and answers are quoted line by line, so that nothing in them can pass for the question.
/// `with_reason`: the question asks for reasoning before the choice.
Choice comparison_choice(const std::vector<Message>& exemplars, const Comparison& comparison, bool swapped,
                         bool with_reason);

/// The principle of a question that is asked under none: which answer is better for the person who asks? Its
/// id is "".
const Principle& no_principle();

struct Verdict {
  bool is_usable = false;            // both orders gave an answer, with enough probability on A and B
  double first = 0, second = 0;      // log-odds that a is better, asked with a first and with b first
  std::string words, words_swapped;  // chain of thought of each order; in the second "A" is b
  double mass = 0;                   // P(A) + P(B), mean of both orders
  long samples = 0;  // replies that each order's verdict was counted in; 0: probabilities of the next token
  std::string problem;  // why it is not usable: "off format", "refused", "no answer" or "still thinking",
                        // with details behind a colon
  double log_odds() const { return (first + second) / 2; }
};

/// Asks all comparisons, one verdict each. With config.chain_of_thought the reasoning is written first and
/// stands before the choice. `decided` is called once for each question (two a comparison) as it is answered.
std::vector<Verdict> compare(const LabelConfig& config, const std::vector<Message>& exemplars,
                             const std::vector<Comparison>& comparisons, Speaker& judge,
                             const std::function<void()>& decided = {});

/// The first words of a problem, to count it by.
std::string problem_kind(const std::string& problem);

}  // namespace cai
