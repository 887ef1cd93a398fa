// Which answers follow the principles that have a check, by principle and model.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "cai/data/constitution.hpp"
#include "cai/stages/eval_figures.hpp"

namespace cai {

/// For each principle with a check that applies to these tags: "" where the answer follows it, else what is
/// broken. An object by principle id; empty where no such principle has a check.
Json check_answer(const Constitution& constitution, const std::vector<std::string>& tags,
                  std::string_view request, std::string_view answer);

/// Of a record with `checks`: the share of its principles that the answer follows; none where no check
/// applied.
std::optional<double> followed_share(const Json& record);

/// Adds `followed` {principle: {model: Wilson interval}}, `followed_differences` {principle: {model: paired
/// difference to the first model}} and `followed_last_step` {principle: paired difference of the third model
/// to the second}, of held-out prompts (the constitution's tests are left out). Adds nothing where no record
/// has checks.
void add_followed(Json& figures, const Constitution& constitution, const EvalRecords& records, long samples,
                  std::uint64_t seed);

}  // namespace cai
