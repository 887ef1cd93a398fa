// Fused steps against the same step in plain ATen under autograd.
#include "cai/model/fused.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <vector>

namespace cai {
namespace {

at::Tensor leaf(const at::Tensor& t) {
  return t.detach().clone().requires_grad_(true);
}

at::Tensor plain_rms(const at::Tensor& x, const at::Tensor& weight) {
  return weight * (x * at::rsqrt(x.pow(2).mean(-1, true) + 1e-5));
}

at::Tensor plain_rotate(const at::Tensor& x, const at::Tensor& cosines, const at::Tensor& sines) {
  const auto half = x.size(-1) / 2;
  const at::Tensor a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half), c = cosines.unsqueeze(1),
                   s = sines.unsqueeze(1);
  return at::cat({a * c - b * s, b * c + a * s}, -1);
}

TEST(Fused, RmsNormAndItsGradientsAgreeWithAutograd) {
  at::manual_seed(1);
  for (const auto& shape : {std::vector<std::int64_t>{1, 7}, {130, 576}, {5, 9, 64}}) {
    const at::Tensor x = at::randn(shape) * 3, w = at::randn({shape.back()}), g = at::randn(shape);
    const at::Tensor x1 = leaf(x), x2 = leaf(x), w1 = leaf(w), w2 = leaf(w);
    const at::Tensor ours = rms_norm(x1, w1, 1e-5), expected = plain_rms(x2, w2);
    EXPECT_TRUE(at::allclose(ours, expected, 1e-5, 1e-6));
    (ours * g).sum().backward(), (expected * g).sum().backward();
    EXPECT_TRUE(at::allclose(x1.grad(), x2.grad(), 1e-4, 1e-5));
    EXPECT_TRUE(at::allclose(w1.grad(), w2.grad(), 1e-4, 1e-4));
  }
}

TEST(Fused, RmsNormsWeightGradientDoesNotDependOnTheThreads) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({333, 48}), w = at::randn({48});
  const int threads = omp_get_max_threads();
  std::vector<at::Tensor> gradients;
  for (const int t : {1, 2, 3}) {
    omp_set_num_threads(t);
    const at::Tensor weight = leaf(w);
    rms_norm(x, weight, 1e-5).square().sum().backward();
    gradients.push_back(weight.grad());
  }
  omp_set_num_threads(threads);
  EXPECT_TRUE(at::equal(gradients[0], gradients[1]) && at::equal(gradients[0], gradients[2]));
}

TEST(Fused, RotationAndItsGradientAgreeWithAutograd) {
  at::manual_seed(3);
  const at::Tensor x = at::randn({11, 3, 16}), angles = at::randn({11, 8}) * 10, g = at::randn({11, 3, 16});
  const at::Tensor x1 = leaf(x), x2 = leaf(x);
  const at::Tensor ours = rotate(x1, angles.cos(), angles.sin()),
                   expected = plain_rotate(x2, angles.cos(), angles.sin());
  EXPECT_TRUE(at::allclose(ours, expected, 1e-6, 1e-6));
  (ours * g).sum().backward(), (expected * g).sum().backward();
  EXPECT_TRUE(at::allclose(x1.grad(), x2.grad(), 1e-6, 1e-6));
}

TEST(Fused, EmbeddingAddsToTheGradientOfItsRowsOnly) {
  at::manual_seed(4);
  const at::Tensor table = at::randn({20, 7}), tokens = at::tensor({3, 5, 3, 19, 0, 3}, at::kLong),
                   g = at::randn({6, 7});
  const at::Tensor ours = leaf(table), expected = leaf(table);
  EXPECT_TRUE(at::equal(embed_rows(ours, tokens), at::embedding(expected, tokens)));
  for (int pass = 0; pass < 2; ++pass) {
    (embed_rows(ours, tokens) * g).sum().backward(), (at::embedding(expected, tokens) * g).sum().backward();
    ASSERT_TRUE(ours.grad().defined());
    EXPECT_TRUE(at::allclose(ours.grad(), expected.grad(), 1e-6, 1e-6));
  }
  EXPECT_FALSE(embed_rows(table, tokens).requires_grad());
}

}  // namespace
}  // namespace cai
