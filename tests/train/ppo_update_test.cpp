// What a PPO update is made of, piece by piece; whole runs on toys are in train_test.cpp.
#include "cai/train/ppo_update.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>

#include "cai/base/random.hpp"
#include "cai/train/ppo.hpp"
#include "cai/train/rollouts.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace {

// Answers of `lengths` tokens in one group, whose log-ratio to the reference is spread over their tokens.
Rollouts group(const std::vector<std::size_t>& lengths, const std::vector<double>& scores,
               const std::vector<double>& log_ratios) {
  Rollouts r;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    Rollout one;
    one.log_probabilities.assign(lengths[i], -1);
    one.reference.assign(lengths[i], -1 - log_ratios[i] / static_cast<double>(lengths[i]));
    one.score = scores[i];
    r.rollouts.push_back(one);
    r.group.push_back(0);
    r.is_harmless.push_back(i % 2 == 1);
  }
  return r;
}

TEST(PpoUpdate, GroupRelativeAdvantagesAreOfScoresAlone) {
  PpoConfig config;
  config.advantage = "grpo", config.prompts_per_update = 1;
  const Rollouts agreeing = group({3, 3, 3, 3}, {1, 1, 1, 1}, {0.1, -0.1, 0.2, -0.2});
  for (const auto& row : estimate(agreeing, config, 0.05).advantages)
    for (double a : row)
      EXPECT_EQ(a, 0);
  const Rollouts others = group({3, 3, 3, 3}, {1, 0, 0.5, 0.1}, {0.1, -0.1, 0.2, -0.2});
  const double expected[] = {1.319824, -0.879883, 0.219971, -0.659912};
  const Estimates e = estimate(others, config, 0.05);
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_NEAR(e.advantages[i][0], expected[i], 1e-6);
}

TEST(PpoUpdate, LeaveOneOutAdvantagesKnowNoLength) {
  PpoConfig config;
  config.advantage = "rloo", config.prompts_per_update = 1;
  for (const auto& row : estimate(group({5, 40}, {1, 1}, {0, 0}), config, 0).advantages)
    for (double a : row)
      EXPECT_NEAR(a, 0, 1e-12);
}

TEST(PpoUpdate, ADivergenceIsAMeanOverAllTokensOrOverThoseOfItsKind) {
  PpoConfig config;
  config.divergence_weight = 0.5, config.harmless_divergence_weight = 4;
  const Rollouts r = group({3, 5, 7}, {0, 0, 0}, {0, 0, 0});  // harmless is the second one
  EXPECT_EQ(divergence_weights(r, {0, 1, 2}, config), (std::vector<double>{0.5 / 15, 4.0 / 15, 0.5 / 15}));
  EXPECT_EQ(divergence_weights(r, {0, 1}, config), (std::vector<double>{0.5 / 8, 4.0 / 8}));
  config.divergence_mean = "kind";
  EXPECT_EQ(divergence_weights(r, {0, 1, 2}, config), (std::vector<double>{0.5 / 10, 4.0 / 5, 0.5 / 10}));
  EXPECT_EQ(divergence_weights(r, {1}, config), (std::vector<double>{4.0 / 5}));
}

TEST(PpoUpdate, TheRewardModelIsAskedAboutWholeSentencesAndTheStopThatItKnows) {
  // Tokens from 50 on end a sentence; 1 and 2 stop.
  const AnswerText text = {.stops = {1, 2}, .whole = [](std::span<const int> answer) {
                             std::size_t n = answer.size();
                             while (n > 0 && answer[n - 1] < 50)
                               --n;
                             return n;
                           }};
  const std::vector<int> prompt = {60, 7};
  const auto scored = [&](std::vector<int> answer, bool is_finished, const AnswerText& t) {
    answer.insert(answer.begin(), prompt.begin(), prompt.end());
    return scored_sequence(answer, 2, is_finished, t);
  };
  EXPECT_EQ(scored({10, 11, 50, 12, 13}, false, text), (std::vector<int>{60, 7, 10, 11, 50, 1}));
  EXPECT_EQ(scored({10, 50, 51}, false, text), (std::vector<int>{60, 7, 10, 50, 51, 1}));
  EXPECT_EQ(scored({10, 11, 12}, false, text), (std::vector<int>{60, 7, 10, 11, 12, 1}))
      << "no whole sentence, and the prompt's does not count";
  EXPECT_EQ(scored({10, 50, 11, 1}, true, text), (std::vector<int>{60, 7, 10, 50, 11, 1}))
      << "it ended by itself";
  EXPECT_EQ(scored({10, 50, 11, 2}, true, text), (std::vector<int>{60, 7, 10, 50, 11, 1}))
      << "another stop than the reward model was taught with";
  EXPECT_EQ(scored({10, 50, 11}, false, {}), (std::vector<int>{60, 7, 10, 50, 11})) << "nothing is known";
}

TEST(PpoUpdate, PromptsComeInANewOrderEachTimeAllWereDrawn) {
  PromptOrder order(5, 3);
  std::vector<std::size_t> drawn;
  for (std::size_t k = 0; k < 10; ++k)
    drawn.push_back(order.at(k));
  for (std::size_t round = 0; round < 2; ++round) {
    const auto begin = drawn.begin() + static_cast<std::ptrdiff_t>(5 * round);
    EXPECT_EQ(std::vector<std::size_t>(begin, begin + 5),
              Random(3).derive("order").derive(round).permutation(5));
  }
  EXPECT_EQ(order.at(2), drawn[2]) << "back again";
}

TEST(PpoUpdate, DrawingFromManyPromptsIsCheap) {
  PromptOrder order(300'000, 1);
  const std::clock_t begin = std::clock();
  for (std::size_t k = 0; k < 512; ++k)
    order.at(k);
  EXPECT_LT(static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC, 0.5);
}

TEST(PpoUpdate, ARunSaysHowManyOptimiserStepsItsUpdatesTook) {
  std::vector<Json> updates;
  for (const long steps : {4, 2, 2, 1}) {
    updates.push_back({{"score", 0.0},
                       {"kl", 0.0},
                       {"entropy", 1.0},
                       {"length", 9.0},
                       {"stop_rate", 0.5},
                       {"optimiser_steps", steps}});
  }
  updates.back()["reward_share"] = 0.25;
  PpoConfig config;
  config.epochs = 2, config.minibatches = 2;
  const Json figures = run_figures(updates, config);
  EXPECT_EQ(figures["optimiser_steps"], (Json{{"mean", 2.25}, {"most", 4}}));
  EXPECT_EQ(figures["reward_share"], 0.25);
}

TEST(PpoUpdate, EpsilonFollowsTheNumberOfLearningWeights) {
  PpoConfig config;
  EXPECT_EQ(adam_epsilon(config, 21'000'000), 1e-5);
  EXPECT_EQ(adam_epsilon(config, 1'800'000'000), 1e-8);
  config.epsilon = 1e-6;
  EXPECT_EQ(adam_epsilon(config, 1'800'000'000), 1e-6);
  // The entries of a gradient of norm 1 of a billion weights are of this size: the first step is the rate.
  const at::Tensor w = at::zeros({4, 4}).requires_grad_(true);
  AdamW optimiser({{"w", w}}, adam_epsilon(PpoConfig(), 1'800'000'000), 0);
  w.mutable_grad().fill_(1e-5);
  optimiser.step(0.01, 0);
  EXPECT_NEAR(w[0][0].item<double>(), -0.01, 0.001);
}

TEST(PpoUpdate, TheSampledKlOfGrpoAgreesWithTheWorkedExample) {
  const at::Tensor reference = at::tensor({-1.0f, -1.1f, -1.9f, -0.5f}),
                   now = at::tensor({-1.2f, -0.7f, -2.0f, -0.3f}).requires_grad_(true);
  const at::Tensor kl = sampled_kl(now, reference);
  EXPECT_NEAR(kl.item<double>(), 0.115624, 1e-6);
  kl.backward();
  EXPECT_TRUE(at::allclose(now.grad(), 1 - (reference - now.detach()).exp(), 1e-5, 1e-6));
}

}  // namespace
}  // namespace cai
