// Which of two answers a model prefers under a principle: asked in both orders, read off the probabilities of (A) and (B).
#pragma once

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
Choice comparison_choice(const std::vector<Message>& exemplars, const Comparison& comparison, bool swapped);

struct Verdict {
  bool is_usable = false;        // the model gave both options a probability, in both orders
  double first = 0, second = 0;  // log-odds that a is better, asked with a first and with b first
  std::string words;             // chain of thought of the first order
  double log_odds() const { return (first + second) / 2; }
};

/// Asks all comparisons, one verdict each. With config.chain_of_thought the reasoning is written first and stands before the choice.
std::vector<Verdict> compare(const LabelConfig& config, const std::vector<Message>& exemplars, const std::vector<Comparison>& comparisons, Speaker& judge);

}  // namespace cai
