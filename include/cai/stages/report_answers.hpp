// Answers to the same prompt, side by side.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cai/io/json.hpp"
#include "cai/stages/report_page.hpp"

namespace cai {

/// What each model answered to one held-out prompt: eval's records, in the models' order.
struct AnswerSet {
  std::vector<Json> answers;
};

/// Sets of plain prompts and tests, those of suites left out, in the records' order; a prompt that a model
/// did not answer is left out.
std::vector<AnswerSet> answer_sets(const std::vector<Json>& records, const std::vector<std::string>& models);

/// At most `most` of them, chosen by seed without a look at the answers; then more, up to three a principle.
std::vector<AnswerSet> chosen_sets(const std::vector<AnswerSet>& all, std::size_t most, std::uint64_t seed);

/// The sets as folded examples with filters by principle and by change from the first model to the last one.
void show_answers(Page& page, const std::vector<AnswerSet>& sets, const std::vector<std::string>& names);

}  // namespace cai
