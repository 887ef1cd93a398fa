// What eval measures of the other models with the help of the first one.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/json.hpp"
#include "cai/stages/eval.hpp"

namespace cai {

/// Each model is to be measured while it is loaded; the first one stays.
class AgainstFirst {
 public:
  /// `plain`: the items that are plain prompts, tests left out. All arguments must outlive this.
  AgainstFirst(const std::vector<EvalModel>& models, const std::vector<const Json*>& plain,
               const EvalConfig& config, const EngineConfig& engine, Random random);

  /// The first model, loaded when it is asked for.
  Speaker& first();

  /// Answers to ask the model for, to learn KL(model || first) of an answer from: sampled at temperature 1,
  /// to up to 64 plain prompts of all kinds. None of the first model itself and of a best-of-n.
  std::span<const Ask> sampled_asks(std::size_t model) const;

  /// That divergence in nats, by what the two models give these replies to sampled_asks().
  void measure_divergence(std::size_t model, Speaker& speaker, const std::vector<Reply>& replies);

  /// Adds to the figures of two models or more: `pairwise` (the first model as judge of each other one's
  /// answers against its own) and the measure `divergence`, of models that were not measured yet too.
  /// records: models x items, each model's first `plain` ones being answers to plain prompts and tests.
  void add_figures(Json& figures, const std::vector<Json>& records, std::size_t items, std::size_t plain);

 private:
  const std::vector<EvalModel>& models_;
  const EvalConfig& config_;
  const EngineConfig& engine_;
  Random random_;
  std::vector<Ask> sampled_;
  std::unique_ptr<Speaker> first_;
  std::map<std::size_t, std::vector<double>> divergences_;  // by model, one number an answer
};

}  // namespace cai
