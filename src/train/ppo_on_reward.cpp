// PPO against a reward model: what its scores are measured in, what the value model starts from, what was
// gained.
#include <ATen/ATen.h>

#include <algorithm>
#include <span>
#include <utility>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"
#include "cai/base/statistics.hpp"
#include "cai/io/interval.hpp"
#include "cai/engine/devices.hpp"
#include "cai/engine/engine.hpp"
#include "cai/train/ppo.hpp"
#include "cai/train/rollouts.hpp"
#include "cai/train/trainable.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace {

// Answers before and after: what PPO gained is known to about 0.15 of a standard deviation. No more of them
// than of rollouts.
std::size_t sample_count(const PpoConfig& config) {
  return static_cast<std::size_t>(
      std::clamp(config.updates * config.prompts_per_update * config.samples_per_prompt, 16L, 160L));
}

}  // namespace

Json train_ppo(Llama& policy, const std::shared_ptr<RewardModel>& reward,
               const std::vector<PpoPrompt>& prompts, const AnswerText& text, const PpoConfig& config,
               const EngineConfig& engine, std::uint64_t seed, const std::filesystem::path& folder,
               const StepObserver& observe) {
  if (prompts.empty()) throw InputError("ppo: no prompts");
  // The same prompts and random streams before and after: the reward's mean and spread become those of the
  // policy that comes in, whatever answers its labels were made of, and the difference says what PPO has
  // gained.
  Engine sampler(policy, {.dtype = engine.dtype,
                          .max_sequences = static_cast<int>(engine.max_sequences),
                          .place = place_of(engine)});
  const auto answers = [&] {
    const std::vector<std::size_t> order = Random(seed).derive("sampled prompts").permutation(prompts.size());
    std::vector<Request> requests;
    for (std::size_t i = 0; i < sample_count(config); ++i)
      requests.push_back({.prompt = prompts[order[i % order.size()]].tokens,
                          .max_new_tokens = static_cast<int>(config.max_new_tokens),
                          .temperature = config.temperature,
                          .stops = text.stops,
                          .random = Random(seed).derive("sample").derive(i)});
    std::vector<std::vector<int>> sequences(requests.size());
    sampler.generate(requests, [&](std::size_t i, Completion c) {
      std::vector<int> sequence = requests[i].prompt;
      sequence.insert(sequence.end(), c.tokens.begin(), c.tokens.end());
      sequences[i] = scored_sequence(sequence, static_cast<int>(requests[i].prompt.size()),
                                     c.finish == Finish::kStop, text);
    });
    return sequences;
  };
  const std::vector<std::vector<int>> before = answers();
  RewardModel judge = std::move(*reward);  // a caller that held it would keep the float32 matrices
  std::vector<double> first = normalise_rewards(judge, before);
  // Sample i answers prompt order[i % n]; its last token is the stop.
  const auto mix_checks = [&](std::vector<double>& scores, const std::vector<std::vector<int>>& sequences) {
    const std::vector<std::size_t> order = Random(seed).derive("sampled prompts").permutation(prompts.size());
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const std::size_t number = order[i % order.size()];
      const PpoPrompt& prompt = prompts[number];
      if (prompt.checked == 0) continue;
      const std::span<const int> answer = std::span(sequences[i]).subspan(prompt.tokens.size());
      const Followed followed = text.follows(number, answer.first(answer.size() - 1));
      scores[i] = mixed_reward(prompt.checked, followed.score, scores[i]);
    }
  };

  // The value model takes the reward model's trunk with a head of zero: between the tokens the reward model
  // was never asked, and a start from "average" explains more than a start from noise.
  RewardModel value = judge;
  value.score = at::zeros_like(judge.score);
  value.mean = 0, value.std = 1;
  // It only reads from here on. What it shares with the policy is rounded once for both.
  if (!judge.trunk.embedding.is_same(policy.embedding)) round_matrices(judge.trunk);
  const auto score = [&](const std::vector<std::vector<int>>& sequences,
                         const std::vector<at::Tensor>& states,
                         std::int64_t layers) { return score_rewards(judge, sequences, states, layers); };
  Json figures =
      train_ppo_with(policy, std::move(value), score, prompts, text, config, sampler, seed, folder, observe);
  sampler.refresh(policy, first_trainable_layer(policy.config, config.optimiser));
  const std::vector<std::vector<int>> after = answers();
  std::vector<double> last = score_rewards(judge, after);
  mix_checks(first, before);
  mix_checks(last, after);
  figures["score_gained"] = interval_json(bootstrap_difference(last, first, 2000, seed));
  figures["normalisation"] = {{"mean", judge.mean}, {"std", judge.std}, {"samples", before.size()}};
  return figures;
}

}  // namespace cai
