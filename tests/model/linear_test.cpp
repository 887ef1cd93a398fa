// Products with low-rank additions against the same products with merged weights.
#include "cai/model/linear.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "cai/model/llama.hpp"

namespace cai {
namespace {

double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

struct Case {
  at::Tensor x;
  std::vector<at::Tensor> weights;
  std::vector<LowRank> low_ranks;  // of the first and the last weight, which learn; none of the second
};

Case random_case() {
  at::manual_seed(3);
  Case c{.x = at::randn({37, 24}).requires_grad_(true), .weights = {}, .low_ranks = {}};
  for (const std::int64_t out : {16, 8, 40})
    c.weights.push_back(at::randn({out, 24}));
  for (const at::Tensor& w : c.weights)
    c.low_ranks.push_back(
        {at::randn({5, 24}).requires_grad_(true), at::randn({w.size(0), 5}).requires_grad_(true), 0.5});
  c.low_ranks[1] = {};
  return c;
}

// Result and gradients of x and of each low-rank matrix.
std::vector<at::Tensor> results_of(Case& c, bool bfloat16, bool merged, const at::Tensor& slopes) {
  Llama model;
  model.place.bfloat16 = bfloat16;
  at::Tensor y;
  if (merged) {
    std::vector<at::Tensor> weights;
    for (std::size_t i = 0; i < c.weights.size(); ++i) {
      const LowRank& low_rank = c.low_ranks[i];
      weights.push_back(low_rank.a.defined() ? c.weights[i] + low_rank.scale * at::mm(low_rank.b, low_rank.a)
                                             : c.weights[i]);
    }
    y = at::linear(c.x, at::cat(weights));
  } else {
    y = linear(model, c.x, c.weights, c.low_ranks);
  }
  (y * slopes).sum().backward();
  std::vector<at::Tensor> results{y.detach(), c.x.grad().clone()};
  c.x.mutable_grad().zero_();
  for (LowRank& low_rank : c.low_ranks)
    for (const at::Tensor* t : {&low_rank.a, &low_rank.b})
      if (t->defined()) results.push_back(t->grad().clone()), at::Tensor(*t).mutable_grad().zero_();
  return results;
}

TEST(Linear, LowRankAdditionsAreThoseOfMergedWeights) {
  Case c = random_case();
  const at::Tensor slopes = at::randn({37, 64});
  const std::vector<at::Tensor> expected = results_of(c, false, true, slopes);
  for (const bool bfloat16 : {false, true}) {
    const std::vector<at::Tensor> found = results_of(c, bfloat16, false, slopes);
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_LT(distance(found[i], expected[i]), bfloat16 ? 1e-2 : 1e-6) << i;
    }
  }
}

TEST(Linear, WithoutAnyAdditionTheBitsAreThoseOfTheWeights) {
  Case c = random_case();
  const at::NoGradGuard no_gradients;
  for (const bool bfloat16 : {false, true}) {
    Llama model;
    model.place.bfloat16 = bfloat16;
    const at::Tensor plain = linear(c.x, c.weights, bfloat16 ? model.rounded : nullptr);
    EXPECT_TRUE(at::equal(linear(model, c.x, c.weights), plain));
    EXPECT_TRUE(at::equal(linear(model, c.x, c.weights, std::vector<LowRank>(3)), plain));
    for (LowRank& low_rank : c.low_ranks)
      if (low_rank.b.defined()) low_rank.b = at::zeros_like(low_rank.b);
    EXPECT_TRUE(at::equal(linear(model, c.x, c.weights, c.low_ranks), plain));  // as an adapter begins
    c = random_case();
  }
}

}  // namespace
}  // namespace cai
