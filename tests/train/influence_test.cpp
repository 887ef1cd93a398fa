#include "cai/train/influence.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cai/base/random.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace {

ModelConfig tiny() {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.layers = 3, c.width = 32, c.heads = 4, c.kv_heads = 2, c.head_width = 8, c.ffn_width = 48,
  c.vocabulary = 40, c.context = 64;
  return c;
}

TrainExample example(int n, int tokens) {
  TrainExample e{.id = std::to_string(n), .prompt_tokens = 3, .weight = n == 2 ? 2.0 : 1.0};
  Random random = Random(7).derive(static_cast<std::uint64_t>(n));
  for (int t = 0; t < tokens; ++t)
    e.tokens.push_back(static_cast<int>(random.below(40)));
  return e;
}

at::Tensor log_probability(const Llama& model, const TrainExample& e) {
  const at::Tensor all = logits(model, pack({e.tokens})).log_softmax(-1);
  at::Tensor sum = at::zeros({}, at::kFloat);
  for (std::size_t i = static_cast<std::size_t>(e.prompt_tokens); i < e.tokens.size(); ++i)
    sum = sum + all[static_cast<std::int64_t>(i) - 1][e.tokens[i]];
  return sum;
}

// The loss the plain way, from whole distributions.
at::Tensor loss(const Llama& model, const TrainExample& e, double mean_weight, const SftConfig& config) {
  at::Tensor total =
      e.as_before ? at::zeros({}, at::kFloat) : -e.weight * log_probability(model, e) / mean_weight;
  for (const Decision& d : e.decisions) {
    const at::Tensor p = logits(model, pack({e.tokens}))[e.prompt_tokens - 1 + d.at].softmax(-1);
    at::Tensor declines = at::zeros({}, at::kFloat);
    for (int token : d.openings)
      declines = declines + p[token];
    total = total + config.decision_weight *
                        (d.declines ? -declines.log()
                                    : -(1 - declines).log() * (d.at == 0 ? config.answering_weight : 1));
  }
  return total;
}

TEST(Influence, IsHowFarAStepOnTheExampleMovesTheAnswers) {
  const Llama model = random_llama(tiny(), 2);
  std::vector<TrainExample> examples;
  for (int n = 0; n < 5; ++n)
    examples.push_back(example(n, 8 + n));
  examples[0].decisions = {{0, true, {3, 7}}, {1, true, {5}}};
  examples[1].decisions = {{0, false, {3, 7}}};
  examples[3].as_before = true, examples[3].decisions = {{0, false, {3, 7}}};
  examples[4].as_before = true;
  const TrainExample towards = example(10, 9), away = example(11, 7);
  for (const long layers : {1L, 0L}) {
    const SftConfig config = {
        .optimiser = {.trainable_layers = layers}, .decision_weight = 2, .answering_weight = 3};
    const std::vector<double> found = influences(model, examples, towards, away, config);
    ASSERT_EQ(found.size(), examples.size());
    double weight = 0;
    for (const TrainExample& e : examples)
      weight += e.weight * static_cast<double>(static_cast<int>(e.tokens.size()) - e.prompt_tokens) / 5;
    const auto f = [&](const Llama& m) {
      return (log_probability(m, towards) - log_probability(m, away)).item<double>();
    };
    for (std::size_t i = 0; i < examples.size(); ++i) {
      Llama moved = model;
      const NamedTensors weights = make_trainable(moved, layers);
      const at::Tensor l = loss(moved, examples[i], weight, config);
      if (!l.requires_grad()) {
        EXPECT_EQ(found[i], 0);
        continue;
      }
      l.backward();
      constexpr double kRate = 2e-3;
      double sides[2];
      for (int side = 0; side < 2; ++side) {
        const at::NoGradGuard no_gradients;
        for (const auto& [name, w] : weights)
          if (w.grad().defined()) at::Tensor(w).sub_(w.grad(), side == 0 ? kRate : -2 * kRate);
        sides[side] = f(moved);
      }
      EXPECT_NEAR(found[i], (sides[0] - sides[1]) / (2 * kRate), 0.02 * std::abs(found[i]) + 2e-2)
          << i << ", layers " << layers;
    }
    EXPECT_GT(*std::max_element(found.begin(), found.end()) - *std::min_element(found.begin(), found.end()),
              0.2);
  }
}

}  // namespace
}  // namespace cai
