// eval: base, SL-CAI and RL-CAI side by side on held-out prompts, every figure with its interval.
#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/records.hpp"
#include "cai/stages/suites.hpp"

namespace cai {

struct EvalModel {
  std::string name;  // "base", "sl-cai", "rl-cai"
  std::filesystem::path path;
  std::filesystem::path reward;  // with best_of: the reward model that chooses
  int best_of = 1;               // samples an answer is chosen from
};

/// Writes one record a model and item {id, model, prompt, tags, response, finish, refusal, complies, tokens,
/// log_probability of the reference, ...; of suites: suite, attack, framing, ...} in the order models x
/// items, and folder/failures.jsonl: what the last model fails on, as prompt records (those of suites have
/// `suite`). `trained_topics`: of the training prompts, to which those of `prompts` with split "train" are
/// added; none: not known. Returns eval_figures, and win rates, the judge's error, `tests` (how many p-values
/// holm_p is adjusted for) and what failed. `judge` (config.eval.judge): gives judged_figures too, as
/// `judged`.
Json eval(const EvalConfig& config, const Constitution& constitution, const std::vector<Json>& prompts,
          const Suites& suites, const std::set<std::string>& trained_topics,
          const std::vector<EvalModel>& models, const EngineConfig& engine,
          const std::filesystem::path& folder, RecordWriter& out, Random random, const ProgressFn& progress,
          const std::function<Speaker&()>& judge = {});

/// The names of the measures that a gate may use.
std::vector<std::string> eval_measures(const Suites& suites);

/// Why eval cannot measure this on these prompts (held-out ones), e.g. "no held-out prompt has the kind
/// borderline"; "" when it can.
std::string why_not_measured(const std::string& measure, const EvalConfig& config,
                             const Constitution& constitution, const std::vector<Json>& prompts,
                             const Suites& suites);

}  // namespace cai
