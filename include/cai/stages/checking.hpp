// Which principles with a check an answer follows, and what is wrong with it as an answer, whatever the
// principles say.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cai/data/constitution.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// A principle with a check, applied to one answer.
struct Checked {
  const Principle* principle = nullptr;
  double share = 0;    // of the check's rules that hold
  std::string broken;  // the rules that do not, in words; "" when the answer follows the principle
};

/// The principles with a check that apply to a record with these tags, applied to an answer, in the
/// constitution's order.
std::vector<Checked> check_principles(const Constitution& constitution, const std::vector<std::string>& tags,
                                      std::string_view request, std::string_view answer);

/// The same; but a text that is no answer to the request (answer_fault) follows no principle, and each says
/// so.
std::vector<Checked> follow_principles(const Constitution& constitution, const std::vector<std::string>& tags,
                                       std::string_view request, std::string_view answer);

/// What one principle weighs beside others: its weight, halved with each tier below the first. A hard
/// principle counts as of the first tier and twice.
double principle_weight(const Principle& principle);

/// The weighted mean of the shares, 0 to 1; 1 where there are none.
double check_score(const std::vector<Checked>& checked);

/// By principle id: "" or what is broken.
Json broken_by_principle(const std::vector<Checked>& checked);

/// Why this is no answer to the request, or "": empty, repeated, off-topic, copy (of the request), asks-back
/// (nothing but questions and courtesies), meta (talks about an answer, a rule or "the assistant" instead of
/// giving one).
std::string answer_fault(std::string_view request, std::string_view answer);

/// Whether the text declines, or says that the request is not clear or lacks something, instead of answering
/// it.
bool evades(std::string_view text);

/// Whether the text talks about an answer, a rule or "the assistant" instead of giving an answer.
bool talks_of_answers(std::string_view text);

/// Whether `text` repeats six or more words in a row of `source`.
bool echoes(std::string_view source, std::string_view text);

}  // namespace cai
