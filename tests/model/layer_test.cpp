// A layer's two halves in bfloat16 against the same in plain float32 ATen under autograd, and what they do to
// a row against ATen.
#include "cai/model/layer.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <string>
#include <vector>

#include "cai/base/error.hpp"
#include "cai/model/llama.hpp"
#include "cai/model/rows.hpp"

namespace cai {
namespace {

TEST(Rows, RoundingIsATens) {
  at::manual_seed(1);
  for (const std::int64_t n : {1, 7, 8, 37, 576}) {
    const at::Tensor x = at::randn({n}) * at::pow(10.0, at::randn({n}) * 4);
    // Halfway between two bfloat16, the lower of which ends in an even bit, then an odd one; infinity; the
    // smallest.
    const std::vector<float> edges{1.00390625f, 1.01171875f, -1.00390625f, INFINITY,
                                   -INFINITY,   0.0f,        -0.0f,        1e-45f};
    for (std::size_t i = 0; i < edges.size() && static_cast<std::int64_t>(i) < n; ++i)
      x[static_cast<std::int64_t>(i)] = edges[i];
    const at::Tensor rounded = x.to(at::kBFloat16);
    at::Tensor ours = at::empty_like(rounded), back = at::empty_like(x), sum = x.clone();
    to_halves(x.data_ptr<float>(), n, static_cast<Half*>(ours.data_ptr()));
    EXPECT_TRUE(at::equal(ours, rounded)) << n;
    to_floats(static_cast<const Half*>(rounded.data_ptr()), n, back.data_ptr<float>());
    EXPECT_TRUE(at::equal(back, rounded.to(at::kFloat))) << n;
    const at::Tensor finite = at::where(x.isinf(), at::zeros_like(x), x), halves = finite.to(at::kBFloat16);
    sum = finite.clone();
    add_halves(static_cast<const Half*>(halves.data_ptr()), n, sum.data_ptr<float>());
    EXPECT_TRUE(at::equal(sum, finite + halves.to(at::kFloat))) << n;
  }
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

ModelConfig small_config() {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.layers = 2, c.width = 64, c.heads = 4, c.kv_heads = 2, c.head_width = 16, c.ffn_width = 96,
  c.vocabulary = 50, c.context = 64, c.tied_head = true;
  return c;
}

struct Variant {
  std::string name;
  ModelConfig config;
};

std::vector<Variant> variants() {
  std::vector<Variant> all(8, {"plain", small_config()});
  all[1].name = "biases", all[1].config.qkv_bias = all[1].config.output_bias = true;
  all[2].name = "head norms", all[2].config.qk_norm = true;
  all[3].name = "window", all[3].config.sliding_window = 3;
  all[4].name = "odd sizes", all[4].config.width = 60, all[4].config.ffn_width = 37,
  all[4].config.kv_heads = 1, all[4].config.head_width = 6;
  all[5].name = "kinds of layers", all[5].config.rotary_width = 12, all[5].config.rotated = {true, false},
  all[5].config.sliding_window = 4, all[5].config.windowed = {false, true};
  all[5].config.attention_scale = 0.4;
  all[6].name = "norms on both sides",
  all[6].config.norms_after = all[6].config.gelu = all[6].config.qk_norm = true;
  all[6].config.embedding_scale = 3, all[6].config.attention_cap = 4, all[6].config.logit_cap = 5;
  all[7].name = "norms after", all[7].config.norms_before = false,
  all[7].config.norms_after = all[7].config.qk_norm = all[7].config.qk_norm_is_whole = true;
  all[7].config.residual_scale = 0.3, all[7].config.logit_divisor = 4;
  return all;
}

// Weights of a size that makes each of the layer's parts matter. `learns`: from this layer on.
Llama model_of(const ModelConfig& c, bool bfloat16, std::int64_t learns = 0) {
  Llama m = random_llama(c, 5);
  m.place.bfloat16 = bfloat16;
  for (auto& [name, t] : m.named_weights()) {
    if (name.find("bias") != std::string::npos)
      t.add_(0.3);
    else if (name.find("norm") != std::string::npos)
      t.add_(at::linspace(-0.3, 0.3, t.size(0)));
    else
      t.mul_(5);
    const auto at = name.find("layers.");
    t.requires_grad_(at == std::string::npos ? learns == 0 || name == "model.norm.weight"
                                             : std::stol(name.substr(at + 7)) >= learns);
  }
  return m;
}

const std::vector<std::vector<int>> kSequences{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13},
                                               {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 20, 21, 22},
                                               {30, 31, 32}};

TEST(Layer, StatesAndGradientsInBFloat16StayNearPlainFloat32) {
  for (const auto& [name, config] : variants()) {
    std::vector<at::Tensor> states;
    std::vector<std::vector<at::Tensor>> gradients;
    at::manual_seed(2);
    const Packed packed = pack(kSequences);
    const at::Tensor x = at::randn({packed.tokens.size(0), config.width}),
                     g = at::randn({packed.tokens.size(0), config.width});
    for (const bool bfloat16 : {false, true}) {
      const Llama m = model_of(config, bfloat16);
      const at::Tensor from = x.clone().requires_grad_(true), hidden = run_layers(m, from, packed, 0, 1);
      EXPECT_EQ(hidden.scalar_type(), at::kFloat);
      (hidden * g).sum().backward();
      states.push_back(hidden.detach());
      gradients.push_back({from.grad()});
      for (auto& [weight, t] : m.named_weights())
        if (weight.find("layers.0") != std::string::npos) {
          ASSERT_TRUE(t.grad().defined()) << name << " " << weight;
          gradients.back().push_back(t.grad());
        }
    }
    EXPECT_LT(distance(states[1], states[0]), 1e-2) << name;
    EXPECT_GT(distance(states[1], states[0]), 0) << name;  // it is another arithmetic
    for (std::size_t i = 0; i < gradients[0].size(); ++i)
      EXPECT_LT(distance(gradients[1][i], gradients[0][i]), 2e-2) << name << " " << i;
  }
}

TEST(Layer, AWholeModelsGradientsInBFloat16PointTheSameWay) {
  for (const auto& [name, config] : variants()) {
    std::vector<std::vector<at::Tensor>> gradients;
    for (const bool bfloat16 : {false, true}) {
      const Llama m = model_of(config, bfloat16);
      logits(m, pack(kSequences)).log_softmax(-1).select(1, 3).mean().backward();
      gradients.emplace_back();
      for (auto& [weight, t] : m.named_weights())
        gradients.back().push_back(t.grad());
    }
    for (std::size_t i = 0; i < gradients[0].size(); ++i)
      EXPECT_LT(distance(gradients[1][i], gradients[0][i]), 0.05) << name << " " << i;
  }
}

TEST(Layer, OnlyTheLayersThatLearnGetGradientsAndTheyAddUp) {
  const Packed packed = pack(kSequences);
  for (const auto& [name, config] : variants()) {
    const Llama m = model_of(config, true, 1);
    std::vector<at::Tensor> once;
    for (const int times : {1, 2}) {
      final_norm(m, run_layers(m, embed(m, packed.tokens), packed, 0, 2)).square().sum().backward();
      for (auto& [weight, t] : m.named_weights()) {
        ASSERT_EQ(t.grad().defined(), t.requires_grad()) << name << " " << weight;
        if (!t.requires_grad()) continue;
        if (times == 1) once.push_back(t.grad().clone());
      }
    }
    std::size_t i = 0;
    for (auto& [weight, t] : m.named_weights())
      if (t.requires_grad()) {
        EXPECT_TRUE(at::allclose(t.grad(), 2 * once[i++], 1e-5, 1e-6)) << name << " " << weight;
      }
  }
}

// The products are ATen's, which may add up otherwise on another number of threads; where the CPU multiplies
// bfloat16 it does not for sizes like these.
TEST(Layer, TheSameBitsOnAnyNumberOfThreads) {
  const bool is_exact = __builtin_cpu_supports("avx512bf16");
  const Packed packed = pack(kSequences);
  const int threads = omp_get_max_threads();
  for (const auto& [name, config] : variants()) {
    std::vector<std::vector<at::Tensor>> results;
    for (const int t : {1, 2, 3}) {
      omp_set_num_threads(t);
      const Llama m = model_of(config, true);
      const at::Tensor hidden = run_layers(m, embed(m, packed.tokens), packed, 0, 2);
      hidden.square().sum().backward();
      results.push_back({hidden.detach()});
      for (auto& [weight, w] : m.named_weights())
        if (w.grad().defined()) results.back().push_back(w.grad());
    }
    omp_set_num_threads(threads);
    for (std::size_t i = 0; i < results[0].size(); ++i)
      for (const std::size_t t : {1, 2})
        EXPECT_LE(distance(results[t][i], results[0][i]), is_exact ? 0 : 2e-3) << name << " " << i;
  }
}

TEST(Layer, RoundedMatricesGiveTheSameBitsAndLetSlopesThrough) {
  const Packed packed = pack(kSequences);
  for (const auto& [name, config] : variants()) {
    std::vector<std::vector<at::Tensor>> results;
    for (const bool in_place : {false, true}) {
      Llama m = model_of(config, true, config.layers);
      if (in_place)
        for (LlamaLayer& l : m.layers)
          round_matrices(l), round_matrices(l);  // a second time changes nothing
      EXPECT_EQ(m.layers[0].up.scalar_type(), in_place ? at::kBFloat16 : at::kFloat);
      const at::Tensor x = embed(m, packed.tokens).detach().requires_grad_(true),
                       hidden = run_layers(m, x, packed, 0, 2);
      hidden.square().sum().backward();
      results.push_back({hidden.detach(), x.grad()});
    }
    for (std::size_t i = 0; i < results[0].size(); ++i)
      EXPECT_TRUE(at::equal(results[0][i], results[1][i])) << name << " " << i;
  }
}

TEST(Layer, WeightsThatWouldLearnUnseenAreTold) {
  const Llama m = model_of(small_config(), true, 2);
  m.layers[0].up.requires_grad_(true);
  const Packed packed = pack({{1, 2, 3}});
  EXPECT_THROW(run_layers(m, embed(m, packed.tokens).detach(), packed, 0, 1), Bug);
}

TEST(Layer, RoundedWeightsFollowTheirWeightsAndForgetThoseThatAreGone) {
  RoundedWeights rounded;
  at::Tensor w = at::ones({3, 4}), v = at::ones({2, 4});
  const at::Tensor first = rounded.of({w, v});
  EXPECT_EQ(first.sizes(), at::IntArrayRef({5, 4}));
  EXPECT_TRUE(first.is_same(rounded.of({w, v})));
  v.requires_grad_(true);  // what learns is kept, too
  EXPECT_TRUE(first.is_same(rounded.of({w, v})));
  v.requires_grad_(false);
  v.mul_(2);
  EXPECT_EQ(rounded.of({w, v})[4][0].item<float>(), 2);
  for (int i = 0; i < 20; ++i) {  // a new tensor may take the place of a dead one
    w = at::full({3, 4}, static_cast<double>(i));
    EXPECT_EQ(rounded.of({w})[0][0].item<float>(), static_cast<float>(i));
  }
}

}  // namespace
}  // namespace cai
