// What the stages of a run cost on this machine: tokens and seconds; rough.
#pragma once

#include "cai/pipeline/inputs.hpp"

namespace cai {

struct Cost {
  long records = 0;
  double tokens = 0;  // computed, prompts included
  double seconds = 0;
};

/// Parameters that a training section's optimiser changes.
double learning_weights(const RunInputs& inputs, const OptimiserConfig& optimiser);

/// How much a run has to do, and how fast this machine does it.
struct Workload {
  static constexpr double kPrompt = 40;  // tokens of a question with its template

  explicit Workload(const RunInputs& inputs);

  const RunInputs& inputs;
  const Config& config;
  double decode, prefill;  // tokens a second
  double train;            // operations a second
  double prompts;          // that the run trains on, at most
  double criticised;       // answers that are criticised, at most
  double compared;         // prompts whose answers are compared, at most
  double candidates;       // answers to each of them
  double pairs;            // of these answers that a model learns from
  double pair_tokens;      // of one such pair

  /// The cost where `feedback` (as in Config::feedback) speaks instead of the policy. An endpoint counts as
  /// the policy.
  Cost by(const std::string& feedback, Cost cost) const;

  /// `records` answers of `answer` tokens, each after `context` tokens.
  Cost spoken(double records, double context, double answer) const;

  /// `examples` of `tokens` each, learned by `optimiser` in an epoch of `epochs`; `with_head`: by way of the
  /// next token's probabilities.
  Cost trained(double examples, double tokens, const OptimiserConfig& optimiser, long epochs,
               bool with_head) const;
};

}  // namespace cai
