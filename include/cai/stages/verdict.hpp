// What an evaluation says, in words.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// What became of a measure from the first model to the last one.
struct MeasureChange {
  std::string measure, title;
  double before = 0, after = 0;
  Json difference;  // null where the two are not paired
  long prompts = 0;
  int better = 0;  // 1: better beyond chance, -1: worse, 0: not beyond chance, or too few to tell
};

/// Of main_measures() those that both models have. Empty with one model, or without measures.
std::vector<MeasureChange> main_changes(const Json& eval);

/// One line a measure of main_changes(), at most `most`: both values, the change's 95 % interval, and whether
/// it is beyond chance.
std::vector<std::string> verdict(const Json& eval, std::size_t most = 99);

/// One or two sentences on all of main_changes(); "" where there are none.
std::string verdict_sentence(const Json& eval);

/// What a person should do next. `is_refused`: a gate failed.
std::string next_step(const Json& eval, bool is_refused);

}  // namespace cai
