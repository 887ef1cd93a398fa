// PPO's guards: known ways for reinforcement learning to go wrong, read off the figures of its updates. No
// torch here.
#pragma once

#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// What is wrong with training, by the figures of its updates so far (one object an update, as in
/// ppo/metrics.jsonl): in one line what was seen and what to try; "" while nothing is. "The start" is the
/// mean of the first three updates; but for figures that are not finite and a KL above max_kl, a sign must
/// hold for three updates in a row. The signs:
///   a figure that is not finite; KL to the reference above ppo.max_kl; KL below -0.5 (sampler and scorer
///   differ); entropy below half of the start; answers that no longer end; one opening in four answers of
///   five; few distinct word pairs; answers half as long again, most of the score's rise due to that or none
///   at all; answers shrunk to a fifth; most ratios clipped (steps too large); a value model that explains
///   less than nothing, or whose loss is ten times the start's.
std::string training_problem(const std::vector<Json>& updates, const PpoConfig& config);

}  // namespace cai
