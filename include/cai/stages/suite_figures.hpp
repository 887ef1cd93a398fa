// What the records of suites say of each model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// From the records of all models, `items` a model in the same order, plain ones included: by suite
/// {measures: by name and model, differences: to the first model}; adversarial: against_plain; framing: the
/// gaps are measures.
Json suite_figures(const EvalConfig& config, const std::vector<std::string>& models,
                   const std::vector<Json>& records, std::size_t items, std::uint64_t seed);

}  // namespace cai
