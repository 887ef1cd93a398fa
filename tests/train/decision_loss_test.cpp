// The decision loss against autograd in float64.
#include "cai/train/decision_loss.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "cai/train/loss.hpp"

namespace cai {
namespace {

constexpr std::int64_t kWidth = 192;
constexpr std::int64_t kVocabulary = 2048;
const std::vector<int> kOpenings = {3, 700, 1999};

// The log-odds of the openings in float64, differentiable.
at::Tensor exact_log_odds(const at::Tensor& hidden, const at::Tensor& weight) {
  const at::Tensor logits = at::mv(weight, hidden),
                   which = at::tensor(std::vector<std::int64_t>(kOpenings.begin(), kOpenings.end()));
  at::Tensor others = at::zeros({kVocabulary}, at::kDouble);
  others.index_fill_(0, which, -1e30);
  return logits.index_select(0, which).logsumexp(0) - (logits + others).logsumexp(0);
}

// A state from which the openings together have the probability `mass`: one moved towards them.
at::Tensor state_of_mass(const at::Tensor& weight, double mass) {
  const at::Tensor start = at::randn({kWidth}, at::kDouble), w = weight.to(at::kDouble);
  const at::Tensor way =
      w.index_select(0, at::tensor(std::vector<std::int64_t>(kOpenings.begin(), kOpenings.end()))).mean(0);
  double low = -100, high = 100;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (exact_log_odds(start + middle * way, w).item<double>() < std::log(mass / (1 - mass)) ? low : high) =
        middle;
  }
  return (start + low * way).to(at::kFloat);
}

TEST(DecisionLoss, HasTheGradientOfTheOtherMassWhereDecliningIsNearlyCertain) {
  at::manual_seed(1);
  const at::Tensor weight = at::randn({kVocabulary, kWidth}) * 0.15;
  for (const double mass : {0.0001, 0.5, 0.99, 0.999, 0.9999, 0.99999, 0.9999999}) {
    const at::Tensor state = state_of_mass(weight, mass);
    for (const bool declines : {false, true}) {
      const Decision decision{0, declines, kOpenings};
      const at::Tensor exact_state = state.to(at::kDouble).requires_grad_(true);
      const at::Tensor odds = exact_log_odds(exact_state, weight.to(at::kDouble)),
                       exact = at::softplus(declines ? -odds : odds);
      exact.backward();
      for (const bool bfloat16 : {false, true}) {
        const at::Tensor hidden = state.view({1, kWidth}).clone().requires_grad_(true);
        const at::Tensor loss = decision_losses(hidden, LmHead(weight, bfloat16), {&decision}, 1).sum();
        loss.backward();
        const at::Tensor got = hidden.grad().view({kWidth}).to(at::kDouble), expected = exact_state.grad();
        const double cosine = (got.dot(expected) / (got.norm() * expected.norm())).item<double>(),
                     ratio = (got.norm() / expected.norm()).item<double>();
        const std::string where =
            std::to_string(mass) + (bfloat16 ? " in bfloat16" : "") + (declines ? ", declines" : "");
        EXPECT_GT(cosine, 0.98) << where;
        EXPECT_NEAR(ratio, 1, 0.05) << where;
        EXPECT_NEAR(loss.item<double>() / exact.item<double>(), 1, 0.05) << where;
      }
    }
  }
}

// More rows than are taken at a time, sets of different sizes, a head that learns and one that does not.
TEST(DecisionLoss, LogOddsAgreeWithAutograd) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({300, 32}), w = at::randn({50, 32}) * 0.5, weights = at::randn({300});
  std::vector<std::vector<int>> sets;
  at::Tensor inside = at::zeros({300, 50}, at::kBool);
  for (int r = 0; r < 300; ++r) {
    sets.emplace_back();
    for (int k = 0; k <= r % 5; ++k)
      sets.back().push_back((7 * r + 11 * k) % 50);
    for (int token : sets.back())
      inside[r][token] = true;
  }
  const at::Tensor hidden = x.to(at::kDouble).requires_grad_(true),
                   head = w.to(at::kDouble).requires_grad_(true);
  const at::Tensor logits = at::mm(hidden, head.t()), infinity = at::full({}, -1e30, at::kDouble);
  const at::Tensor expected =
      at::where(inside, logits, infinity).logsumexp(1) - at::where(inside, infinity, logits).logsumexp(1);
  (expected * weights).sum().backward();
  const auto error = [](const at::Tensor& got, const at::Tensor& exact) {
    return ((got - exact).norm() / exact.norm()).item<double>();
  };
  for (const bool bfloat16 : {false, true}) {
    const double most = bfloat16 ? 1e-2 : 1e-5;
    for (const bool learns : {false, true}) {
      const at::Tensor h = x.clone().requires_grad_(true), own = w.clone().requires_grad_(learns);
      const at::Tensor got = log_odds(h, LmHead(own, bfloat16), sets);
      (got * weights).sum().backward();
      EXPECT_LT(error(got, expected), most);
      EXPECT_LT(error(h.grad(), hidden.grad()), most);
      if (learns) {
        EXPECT_LT(error(own.grad(), head.grad()), most);
      }
      const c10::NoGradGuard no_gradients;
      EXPECT_TRUE(at::equal(log_odds(h, LmHead(own, bfloat16), sets), got));
    }
  }
}

}  // namespace
}  // namespace cai
