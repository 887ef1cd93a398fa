// Best of n: the answer that a reward model likes best among n samples of a policy that was not trained on
// it. What reinforcement learning has to beat, and what it can at most get from the reward model at n times
// the cost of an answer.
#pragma once

#include <filesystem>
#include <memory>

#include "cai/config/config.hpp"
#include "cai/feedback/speaker.hpp"

namespace cai {

/// A speaker whose say() samples each ask `n` times at temperature 1 (top_p as asked) and gives the answer
/// with the highest reward, the first of equals. Reply::tokens counts the given answer, usage() all. Other
/// questions go to the policy as they are.
std::unique_ptr<Speaker> best_of_speaker(const std::filesystem::path& policy,
                                         const std::filesystem::path& reward_model, int n,
                                         const EngineConfig& engine);

}  // namespace cai
