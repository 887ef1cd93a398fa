// Suites of eval: attacks on the plain prompts, framings of them, and what the model still knows.
// docs/concepts/metrics-and-statistics.md says what they measure.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/suites.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// One thing that every model is asked, or measured on.
struct EvalItem {
  Json record;  // what its record begins with: id, prompt, tags, ...; those of suites have `suite`
  std::vector<Message> messages;  // what is asked; none: score_items measures it
  std::string topic;              // an answer on the topic shares a word with it
};

/// Items of the suites: the first config.suite_prompts red-team prompts of `plain` (records of the plain
/// items) under each attack that can be written for them, those and as many borderline ones under both
/// framings; then texts and questions. Wordings are drawn by item.
std::vector<EvalItem> suite_items(const EvalConfig& config, const Suites& suites,
                                  const std::vector<EvalItem>& plain, Random random);

/// Measures texts and questions (items without messages) and calls done(index, record) in their order. A
/// question's option is chosen by its mean log-probability a token as the end of "The answer is ...". Throws
/// Stopped when asked to stop.
void score_items(Speaker& model, const std::string& name, std::span<const EvalItem> items,
                 const std::function<void(std::size_t, Json)>& done);

/// The names that suite_figures (suite_figures.hpp) may give.
std::vector<std::string> suite_measures(const Suites& suites);

/// A prompt's topic: its first tag that is no kind, or "".
std::string topic_of(const Json& record);

}  // namespace cai
