// Fused steps against the same step in plain ATen under autograd, and bfloat16 products against float32 ones.
#include "cai/model/fused.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <vector>

#include "cai/model/linear.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

at::Tensor leaf(const at::Tensor& t) { return t.detach().clone().requires_grad_(true); }

at::Tensor plain_rms(const at::Tensor& x, const at::Tensor& weight) { return weight * (x * at::rsqrt(x.pow(2).mean(-1, true) + 1e-5)); }

at::Tensor plain_rotate(const at::Tensor& x, const at::Tensor& cosines, const at::Tensor& sines) {
  const auto half = x.size(-1) / 2;
  const at::Tensor a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half), c = cosines.unsqueeze(1), s = sines.unsqueeze(1);
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
  const at::Tensor ours = rotate(x1, angles.cos(), angles.sin()), expected = plain_rotate(x2, angles.cos(), angles.sin());
  EXPECT_TRUE(at::allclose(ours, expected, 1e-6, 1e-6));
  (ours * g).sum().backward(), (expected * g).sum().backward();
  EXPECT_TRUE(at::allclose(x1.grad(), x2.grad(), 1e-6, 1e-6));
}

double distance(const at::Tensor& a, const at::Tensor& b) { return ((a - b).norm() / b.norm()).item<double>(); }

TEST(Linear, BFloat16ProductsAndGradientsStayNearFloat32) {
  at::manual_seed(4);
  const at::Tensor x = at::randn({70, 96}), v = at::randn({40, 96}), w = at::randn({24, 96}), g = at::randn({70, 64});
  RoundedWeights rounded;
  const at::Tensor x1 = leaf(x), x2 = leaf(x), v1 = leaf(v), v2 = leaf(v), w1 = leaf(w), w2 = leaf(w);
  const at::Tensor ours = products(x1, {v1, w1}, rounded), expected = at::cat({at::linear(x2, v2), at::linear(x2, w2)}, 1);
  EXPECT_EQ(ours.scalar_type(), at::kFloat);
  (ours * g).sum().backward(), (expected * g).sum().backward();
  for (const auto& [a, b] : {std::pair{ours, expected}, {x1.grad(), x2.grad()}, {v1.grad(), v2.grad()}, {w1.grad(), w2.grad()}}) {
    EXPECT_LT(distance(a, b), 8e-3);
    EXPECT_GT(distance(a, b), 0);  // it is another arithmetic
  }
}

TEST(Linear, SwiGluAndItsGradientsStayNearPlainFloat32) {
  at::manual_seed(5);
  for (const std::int64_t ffn : {96, 37}) {
    const at::Tensor x = at::randn({50, 32}), gate = at::randn({ffn, 32}) * 0.3, up = at::randn({ffn, 32}) * 0.3, down = at::randn({32, ffn}), g = at::randn({50, 32});
    RoundedWeights rounded;
    const at::Tensor x1 = leaf(x), x2 = leaf(x), gate1 = leaf(gate), gate2 = leaf(gate), up1 = leaf(up), up2 = leaf(up), down1 = leaf(down), down2 = leaf(down);
    const at::Tensor ours = swiglu(x1, gate1, up1, down1, rounded);
    const at::Tensor expected = at::linear(at::silu(at::linear(x2, gate2)) * at::linear(x2, up2), down2);
    (ours * g).sum().backward(), (expected * g).sum().backward();
    for (const auto& [a, b] : {std::pair{ours, expected}, {x1.grad(), x2.grad()}, {gate1.grad(), gate2.grad()}, {up1.grad(), up2.grad()}, {down1.grad(), down2.grad()}})
      EXPECT_LT(distance(a, b), 1.2e-2) << ffn;
  }
}

TEST(Linear, RoundedWeightsFollowTheirWeightsAndForgetThoseThatAreGone) {
  RoundedWeights rounded;
  at::Tensor w = at::ones({3, 4}), v = at::ones({2, 4});
  const at::Tensor first = rounded.of({w, v});
  EXPECT_EQ(first.sizes(), at::IntArrayRef({5, 4}));
  EXPECT_TRUE(first.is_same(rounded.of({w, v})));
  v.mul_(2);
  EXPECT_EQ(rounded.of({w, v})[4][0].item<float>(), 2);
  for (int i = 0; i < 20; ++i) {  // a new tensor may take the place of a dead one
    w = at::full({3, 4}, static_cast<double>(i));
    EXPECT_EQ(rounded.of({w})[0][0].item<float>(), static_cast<float>(i));
  }
}

TEST(Linear, AWholeModelsGradientsInBFloat16PointTheSameWay) {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.layers = 3, c.width = 64, c.heads = 4, c.kv_heads = 2, c.head_width = 16, c.ffn_width = 96, c.vocabulary = 50, c.context = 64, c.tied_head = true;
  std::vector<std::vector<at::Tensor>> gradients;
  for (const bool bfloat16 : {false, true}) {
    Llama m = random_llama(c, 5);
    m.bfloat16 = bfloat16;
    for (auto& [name, t] : m.named_weights()) t.mul_(name.find("norm") == std::string::npos ? 5 : 1).requires_grad_(true);
    logits(m, pack({{1, 2, 3, 4, 5, 6}, {7, 8, 9}})).log_softmax(-1).select(1, 3).mean().backward();
    gradients.emplace_back();
    for (auto& [name, t] : m.named_weights()) gradients.back().push_back(t.grad());
  }
  for (std::size_t i = 0; i < gradients[0].size(); ++i) EXPECT_LT(distance(gradients[1][i], gradients[0][i]), 0.05) << i;
}

}  // namespace
}  // namespace cai
