// Log-probabilities, entropies and divergences of next tokens against autograd.
#include "cai/train/loss.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <vector>

namespace cai {
namespace {

double error(const at::Tensor& got, const at::Tensor& exact) {
  return ((got - exact).norm() / exact.norm()).item<double>();
}

TEST(Loss, AgreesWithLogSoftmaxAndItsGradients) {
  at::manual_seed(1);
  for (double temperature : {1.0, 0.7}) {
    const at::Tensor hidden = at::randn({600, 32}).requires_grad_(true),
                     head = at::randn({40, 32}).requires_grad_(true),
                     targets = at::randint(40, {600}, at::kLong);
    const auto got = token_log_probabilities(hidden, head, targets, temperature);
    const at::Tensor logs = at::log_softmax(at::mm(hidden, head.t()) / temperature, -1),
                     expected = logs.gather(1, targets.unsqueeze(1)).squeeze(1);
    EXPECT_TRUE(at::allclose(got.log_probabilities, expected, 1e-5, 1e-5));
    {
      const c10::NoGradGuard no_gradients;
      EXPECT_TRUE(at::allclose(token_log_probabilities(hidden, head, targets, temperature).entropies,
                               -(logs.exp() * logs).sum(-1), 1e-4, 1e-5));
    }
    const at::Tensor weights = at::randn({600});
    (got.log_probabilities * weights).sum().backward();
    const at::Tensor gh = hidden.grad().clone(), gw = head.grad().clone();
    hidden.mutable_grad() = at::Tensor(), head.mutable_grad() = at::Tensor();
    (expected * weights).sum().backward();
    EXPECT_TRUE(at::allclose(gh, hidden.grad(), 1e-4, 1e-5));
    EXPECT_TRUE(at::allclose(gw, head.grad(), 1e-4, 1e-4));
    hidden.mutable_grad() = at::Tensor();
    (token_log_probabilities(hidden, head.detach(), targets, temperature).log_probabilities * weights)
        .sum()
        .backward();  // a frozen head
    EXPECT_TRUE(at::allclose(gh, hidden.grad(), 1e-4, 1e-5));
  }
}

TEST(Loss, InBFloat16StaysNearFloat32) {
  at::manual_seed(2);
  const at::Tensor targets = at::randint(40, {300}, at::kLong), weights = at::randn({300}),
                   x = at::randn({300, 32}), w = at::randn({40, 32});
  std::vector<at::Tensor> logs, to_hidden, to_head, frozen;
  for (const bool bfloat16 : {false, true}) {
    const at::Tensor hidden = x.clone().requires_grad_(true), head = w.clone().requires_grad_(true),
                     again = x.clone().requires_grad_(true);
    logs.push_back(token_log_probabilities(hidden, LmHead(head, bfloat16), targets, 0.8).log_probabilities);
    (logs.back() * weights).sum().backward();
    (token_log_probabilities(again, LmHead(w, bfloat16), targets, 0.8).log_probabilities * weights)
        .sum()
        .backward();
    to_hidden.push_back(hidden.grad()), to_head.push_back(head.grad()), frozen.push_back(again.grad());
  }
  for (const auto& pair : {logs, to_hidden, to_head, frozen})
    EXPECT_LT(((pair[1] - pair[0]).norm() / pair[0].norm()).item<double>(), 1e-2);
}

TEST(Loss, ARefreshedHeadIsOneOfTheWeightAsItIsNow) {
  at::manual_seed(5);
  for (const bool bfloat16 : {false, true}) {
    const at::Tensor x = at::randn({9, 32}), targets = at::randint(40, {9}, at::kLong);
    at::Tensor w = at::randn({40, 32}).requires_grad_(true);
    LmHead head(w, bfloat16);
    {
      const c10::NoGradGuard no_gradients;
      w.add_(at::randn({40, 32}));
    }
    head.refresh();
    const at::Tensor logs = token_log_probabilities(x, head, targets).log_probabilities;
    EXPECT_TRUE(at::equal(logs, token_log_probabilities(x, LmHead(w, bfloat16), targets).log_probabilities));
    logs.sum().backward();
    const at::Tensor gradient = w.grad().clone();
    w.mutable_grad() = at::Tensor();
    token_log_probabilities(x, LmHead(w, bfloat16), targets).log_probabilities.sum().backward();
    EXPECT_TRUE(at::equal(gradient, w.grad()));
  }
}

TEST(Loss, DivergencesAgreeWithWholeDistributionsAndTheirGradients) {
  at::manual_seed(3);
  for (const double temperature : {1.0, 0.7}) {
    const at::Tensor before = at::randn({300, 32}), weights = at::randn({300}), others = at::randn({300}),
                     targets = at::randint(40, {300}, at::kLong);
    const at::Tensor hidden = at::randn({300, 32}).requires_grad_(true),
                     head = at::randn({40, 32}).requires_grad_(true), old_head = at::randn({40, 32});
    const auto check = [&](const at::Tensor& now_head, const at::Tensor& then_head, bool head_learns,
                           bool reverse) {
      const NextTokens then = next_tokens(before, then_head, targets, temperature, head_learns, reverse);
      const TokenLogProbabilities got =
          token_log_probabilities(hidden, now_head, targets, temperature, &then);
      const at::Tensor logs = at::log_softmax(at::mm(hidden, now_head.t()) / temperature, -1),
                       logs_then = at::log_softmax(at::mm(before, then_head.t()) / temperature, -1);
      const at::Tensor expected = reverse ? (logs.exp() * (logs - logs_then)).sum(-1)
                                          : (logs_then.exp() * (logs_then - logs)).sum(-1),
                       chosen = logs.gather(1, targets.unsqueeze(1)).squeeze(1);
      EXPECT_TRUE(at::allclose(got.divergences, expected, 1e-4, 1e-4));
      (got.divergences * weights + got.log_probabilities * others).sum().backward();
      const at::Tensor gh = hidden.grad().clone(),
                       gw = head.grad().defined() ? head.grad().clone() : at::Tensor();
      hidden.mutable_grad() = at::Tensor(), head.mutable_grad() = at::Tensor();
      (expected * weights + chosen * others).sum().backward();
      EXPECT_LT(error(gh, hidden.grad()), 1e-4);
      if (head_learns) {
        EXPECT_LT(error(gw, head.grad()), 1e-4);
      }
      hidden.mutable_grad() = at::Tensor(), head.mutable_grad() = at::Tensor();
    };
    for (const bool reverse : {false, true}) {
      check(head, old_head, true, reverse);
      check(head.detach(), head.detach(), false, reverse);  // a frozen head is the same before and now
    }
  }
}

TEST(Loss, ADivergenceFromOneselfIsNothing) {
  // In bfloat16 too, where expectations are rounded: a model that is held where it is must feel no pull.
  at::manual_seed(4);
  const at::Tensor states = at::randn({300, 32}), head = at::randn({40, 32}),
                   targets = at::zeros({300}, at::kLong);
  for (const bool bfloat16 : {false, true})
    for (const bool reverse : {false, true}) {
      const LmHead h(head, bfloat16);
      const NextTokens before = next_tokens(states, h, targets, 1, false, reverse);
      const at::Tensor hidden = states.clone().requires_grad_(true),
                       got = token_log_probabilities(hidden, h, targets, 1, &before).divergences;
      got.sum().backward();
      EXPECT_EQ(got.abs().max().item<double>(), 0);
      EXPECT_EQ(hidden.grad().abs().max().item<double>(), 0);
    }
}

// A token that is nearly certain: its slope is the others' share, which rounding a whole expectation would
// cover.
TEST(Loss, TheSlopeOfANearlyCertainTokenIsThatOfTheOthers) {
  at::manual_seed(6);
  const at::Tensor weight = at::randn({512, 64}) * 0.3, wide = weight.to(at::kDouble),
                   start = at::randn({1, 64}), target = at::full({1}, 7, at::kLong);
  for (const double p : {0.5, 0.99, 0.999, 0.9999}) {
    double low = -100, high = 100;  // how far towards the token's weights its probability is p
    for (int i = 0; i < 60; ++i) {
      const double middle = (low + high) / 2;
      const at::Tensor logits = at::mm((start + middle * weight.narrow(0, 7, 1)).to(at::kDouble), wide.t());
      (logits.softmax(1)[0][7].item<double>() < p ? low : high) = middle;
    }
    const at::Tensor state = start + low * weight.narrow(0, 7, 1),
                     exact = state.to(at::kDouble).requires_grad_(true);
    at::log_softmax(at::mm(exact, wide.t()), 1)[0][7].backward();
    for (const bool bfloat16 : {false, true})
      for (const bool learns : {false, true}) {
        const at::Tensor hidden = state.clone().requires_grad_(true),
                         head = weight.clone().requires_grad_(learns);
        token_log_probabilities(hidden, LmHead(head, bfloat16), target).log_probabilities.sum().backward();
        const at::Tensor got = hidden.grad()[0].to(at::kDouble), expected = exact.grad()[0];
        EXPECT_GT((got.dot(expected) / (got.norm() * expected.norm())).item<double>(), 0.99)
            << p << bfloat16 << learns;
        EXPECT_NEAR((got.norm() / expected.norm()).item<double>(), 1, 0.05) << p << bfloat16 << learns;
      }
  }
}

// Every way that a divergence is made, in bfloat16: a frozen head and one that learns, either direction.
TEST(Loss, DivergencesInBFloat16StayNearExactOnes) {
  at::manual_seed(7);
  const at::Tensor targets = at::randint(40, {300}, at::kLong), weights = at::rand({300}),
                   x = at::randn({300, 32}), then = at::randn({300, 32}), w = at::randn({40, 32});
  for (const bool learns : {false, true})
    for (const bool reverse : {false, true}) {
      const at::Tensor exact_hidden = x.to(at::kDouble).requires_grad_(true),
                       exact_head = w.to(at::kDouble).requires_grad_(true);
      const at::Tensor now = at::log_softmax(at::mm(exact_hidden, exact_head.t()), -1),
                       before = at::log_softmax(at::mm(then.to(at::kDouble), w.to(at::kDouble).t()), -1);
      const at::Tensor exact = (reverse ? now.exp() * (now - before) : before.exp() * (before - now)).sum(-1);
      (exact * weights).sum().backward();
      const at::Tensor hidden = x.clone().requires_grad_(true), head = w.clone().requires_grad_(learns);
      const NextTokens said = next_tokens(then, LmHead(w, true), targets, 1, learns, reverse);
      const at::Tensor got =
          token_log_probabilities(hidden, LmHead(head, true), targets, 1, &said).divergences;
      (got * weights).sum().backward();
      EXPECT_LT(error(got, exact), 1e-2) << learns << reverse;
      EXPECT_LT(error(hidden.grad(), exact_hidden.grad()), 1e-2) << learns << reverse;
      if (learns) {
        EXPECT_LT(error(head.grad(), exact_head.grad()), 2e-2) << reverse;
      }
    }
}

}  // namespace
}  // namespace cai
