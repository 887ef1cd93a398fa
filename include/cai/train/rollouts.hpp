// A round of PPO's answers, and passes over some of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cai/model/llama.hpp"
#include "cai/model/reward_model.hpp"
#include "cai/train/loss.hpp"
#include "cai/train/ppo_math.hpp"
#include "cai/train/train.hpp"

namespace cai {

/// Leading layers (with the embedding) that hold the same values in both models.
std::int64_t shared_layers(const Llama& a, const Llama& b);

/// A round's responses and what was measured on them, one entry a sequence.
struct Rollouts {
  std::vector<std::vector<int>> sequences;  // prompt and answer
  std::vector<int> prompt_tokens;
  std::vector<std::size_t> group;   // which of the round's prompts each answers
  std::vector<std::size_t> prompt;  // and its number among all prompts
  std::vector<double> checked;      // PpoPrompt::checked of each
  std::vector<Followed> followed;   // what checks say, of those whose prompt has any
  std::vector<Rollout> rollouts;
  std::vector<std::vector<double>> sampler;  // log-probabilities as the sampler saw them
  std::vector<double> raw_scores;
  std::vector<at::Tensor> trunk;  // hidden states below the learning layers, one [length, width] a sequence
  std::vector<bool> is_harmless;  // whether its prompt is to be answered
  std::vector<NextTokens>
      reference;  // what the reference says of each answer's tokens, where a divergence weighs
  double entropy = 0, tokens = 0;  // of the policy's next tokens, summed over the answer tokens; their number

  std::vector<std::size_t> all() const;  ///< the number of each sequence
};

/// A sequence as the reward model is asked about it, which was taught on whole sentences and one stop token:
/// an answer that was cut goes up to its last whole sentence (all of it when it has none), and each ends with
/// text.stops.front(), whichever stop token ended it.
std::vector<int> scored_sequence(const std::vector<int>& sequence, int prompt_tokens, bool is_finished,
                                 const AnswerText& text);

/// Which of n prompts comes at the k-th place of a seeded order, a new order each time all were drawn. Cheap
/// for places that rise.
class PromptOrder {
 public:
  PromptOrder(std::size_t n, std::uint64_t seed) : n_(n), seed_(seed) {}
  std::size_t at(std::size_t k);

 private:
  std::size_t n_, round_ = 0;
  std::uint64_t seed_;
  std::vector<std::size_t> order_;  // of that round; empty before the first one
};

/// Some sequences as one pass: the trunk's states, and the rows that predict answer tokens.
struct Part {
  Packed packed;
  at::Tensor hidden;         // [rows, width] below the learning layers
  at::Tensor rows, targets;  // [answer tokens] int64: the row that predicts each, and its id
};

Part part_of(const Rollouts& rollouts, const std::vector<std::size_t>& which);

/// `order` cut into passes. `shared`: layers whose states are known already; where most layers learn,
/// activations take the room of twice as many tokens.
std::vector<std::vector<std::size_t>> parts_of(const Rollouts& rollouts,
                                               const std::vector<std::size_t>& order, std::int64_t shared,
                                               std::int64_t layers, const at::Device& device);

/// [answer tokens, width] final normed states of the rows that predict answer tokens.
at::Tensor answer_states(const Llama& model, const Part& part, std::int64_t shared);

/// [answer tokens] values, normalised.
at::Tensor token_values(const RewardModel& model, const Part& part, std::int64_t shared);

/// Share of different ones among all pairs of neighbouring answer tokens.
double distinct_pairs(const Rollouts& rollouts);

/// Share of the answers that begin with the commonest four tokens.
double common_opening(const Rollouts& rollouts);

}  // namespace cai
