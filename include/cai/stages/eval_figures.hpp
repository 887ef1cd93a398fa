// What eval concludes from its records.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/stages/eval.hpp"
#include "cai/stages/suites.hpp"

namespace cai {

/// The records of all models, `items` a model in the same order; of each model the first `plain` answer plain
/// prompts and tests, the rest are of suites.
struct EvalRecords {
  const std::vector<EvalModel>& models;
  const std::vector<Json>& records;
  std::size_t items, plain;

  const Json& at(std::size_t model, std::size_t item) const { return records[model * items + item]; }
};

/// measures, differences (to the first model), by_principle, text, by_topic, topics, language, suites.
/// `trained`: topics of training prompts.
Json eval_figures(const EvalConfig& config, const Constitution& constitution,
                  const std::set<std::string>& trained, const EvalRecords& records, std::uint64_t seed);

/// Writes what the last model fails on as prompt records, those of suites too, and returns how many of each
/// kind.
Json write_failures(const EvalRecords& records, const std::vector<EvalItem>& items,
                    const std::filesystem::path& file);

}  // namespace cai
