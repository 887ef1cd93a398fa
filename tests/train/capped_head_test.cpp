// A head whose logits are capped (Gemma 2): log-probabilities, divergences and all gradients against
// autograd.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "cai/train/loss.hpp"

namespace cai {
namespace {

constexpr double kCap = 2, kTemperature = 0.8;

at::Tensor capped(const at::Tensor& hidden, const at::Tensor& weight) {
  return at::tanh(at::mm(hidden, weight.t()) / kCap) * kCap / kTemperature;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

struct Case {
  bool head_learns, bfloat16, diverges;
};

class CappedHead : public testing::TestWithParam<Case> {};

TEST_P(CappedHead, HasTheGradientsOfAutograd) {
  const auto [head_learns, bfloat16, diverges] = GetParam();
  at::manual_seed(3);
  const at::Tensor values = at::randn({150, 24}), before = values + 0.3 * at::randn({150, 24}),
                   start = at::randn({70, 24}) * 0.5, weights = at::randn({150});
  const at::Tensor targets = at::randint(0, 70, {150}, at::kLong);
  at::Tensor x = values.clone().requires_grad_(true), w = start.clone().requires_grad_(head_learns);
  const at::Tensor plain_x = values.clone().requires_grad_(true),
                   plain_w = start.clone().requires_grad_(true);

  const LmHead head(w, bfloat16, kCap);
  NextTokens then = next_tokens(before, LmHead(start, bfloat16, kCap), targets, kTemperature, head_learns);
  const TokenLogProbabilities ours =
      token_log_probabilities(x, head, targets, kTemperature, diverges ? &then : nullptr);
  const at::Tensor logs = at::log_softmax(capped(plain_x, plain_w), -1),
                   expected = logs.gather(1, targets.unsqueeze(1)).squeeze(1);
  at::Tensor loss = (ours.log_probabilities * weights).sum(), plain = (expected * weights).sum();
  EXPECT_LT(distance(ours.log_probabilities.detach(), expected.detach()), bfloat16 ? 1e-2 : 1e-5);
  if (diverges) {
    const at::Tensor old = at::log_softmax(capped(before, start), -1),
                     divergences = (old.exp() * (old - logs)).sum(-1);
    EXPECT_LT(distance(ours.divergences.detach(), divergences.detach()), bfloat16 ? 3e-2 : 1e-4);
    loss = loss + 3 * ours.divergences.sum(), plain = plain + 3 * divergences.sum();
  }
  loss.backward(), plain.backward();
  EXPECT_LT(distance(x.grad(), plain_x.grad()), bfloat16 ? 2e-2 : 1e-4);
  EXPECT_EQ(w.grad().defined(), head_learns);
  if (head_learns) {
    EXPECT_LT(distance(w.grad(), plain_w.grad()), bfloat16 ? 2e-2 : 1e-4);
  }

  const at::NoGradGuard no_gradients;  // what is measured without gradients is the same
  EXPECT_LT(distance(token_log_probabilities(x, head, targets, kTemperature).log_probabilities,
                     ours.log_probabilities.detach()),
            1e-6);
}

INSTANTIATE_TEST_SUITE_P(All, CappedHead,
                         testing::Values(Case{false, false, false}, Case{false, false, true},
                                         Case{false, true, false}, Case{false, true, true},
                                         Case{true, false, false}, Case{true, false, true},
                                         Case{true, true, false}, Case{true, true, true}),
                         [](const auto& info) {
                           return std::string(info.param.head_learns ? "learns" : "frozen") +
                                  (info.param.bfloat16 ? "_bfloat16" : "_float32") +
                                  (info.param.diverges ? "_diverges" : "");
                         });

}  // namespace
}  // namespace cai
