// A model on a device against the CPU's own code: states, gradients, losses. The CPU's code is held to
// transformers by tests/model and tests/train.
#include <c10/core/GradMode.h>

#include "cai/model/layer_tensors.hpp"
#include "cai/model/recompute.hpp"
#include "cai/train/decision_loss.hpp"
#include "cai/train/loss.hpp"
#include "device.hpp"

namespace cai {
namespace {

struct Variant {
  std::string name;
  ModelConfig config;
};

ModelConfig small() {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.layers = 2, c.width = 64, c.heads = 4, c.kv_heads = 2, c.head_width = 16, c.ffn_width = 96,
  c.vocabulary = 50, c.context = 64, c.tied_head = true;
  return c;
}

std::vector<Variant> variants() {
  std::vector<Variant> all(7, {"plain", small()});
  all[1].name = "biases", all[1].config.qkv_bias = all[1].config.output_bias = true;
  all[2].name = "head norms", all[2].config.qk_norm = true;
  all[3].name = "window", all[3].config.sliding_window = 3;
  all[4].name = "kinds of layers", all[4].config.rotary_width = 12, all[4].config.rotated = {true, false},
  all[4].config.sliding_window = 4, all[4].config.windowed = {false, true};
  all[4].config.attention_scale = 0.4;
  all[5].name = "norms on both sides",
  all[5].config.norms_after = all[5].config.gelu = all[5].config.qk_norm = true;
  all[5].config.embedding_scale = 3, all[5].config.attention_cap = 4, all[5].config.logit_cap = 5;
  all[6].name = "norms after", all[6].config.norms_before = false, all[6].config.tied_head = false,
  all[6].config.norms_after = all[6].config.qk_norm = all[6].config.qk_norm_is_whole = true;
  all[6].config.residual_scale = 0.3, all[6].config.logit_divisor = 4;
  return all;
}

Llama model_of(const ModelConfig& c) {
  Llama m = random_llama(c, 5);
  for (auto& [name, t] : m.named_weights())
    if (name.find("bias") != std::string::npos)
      t.add_(0.3);
    else if (name.find("norm") != std::string::npos)
      t.add_(at::linspace(-0.3, 0.3, t.size(0)));
    else
      t.mul_(5);
  return m;
}

const std::vector<std::vector<int>> kSequences{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13},
                                               {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 20, 21, 22},
                                               {30, 31, 32}};

struct Result {
  at::Tensor value;
  std::vector<std::pair<std::string, at::Tensor>> gradients;
};

// A weighed sum of the log-probabilities of all next tokens, and its gradients.
Result result_of(Llama& m) {
  for (auto& [name, t] : m.named_weights())
    t.requires_grad_(true);
  const at::Tensor logs = logits(m, pack(kSequences, m.device())).log_softmax(-1);
  (logs.select(1, 3).mean() + logs.select(1, 7).square().mean()).backward();
  Result r{logs.detach().cpu(), {}};
  for (auto& [name, t] : m.named_weights())
    r.gradients.emplace_back(name, t.grad().cpu());
  return r;
}

TEST(DeviceLayers, HaveTheStatesAndGradientsOfTheCpusOwnCode) {
  for (const auto& [name, config] : variants()) {
    Llama own = model_of(config);
    const Result expected = result_of(own);
    for (const bool bfloat16 : {false, true}) {
      const OnDevice on_device;
      Llama model = model_of(config);
      move_to(model, test_place(bfloat16));
      const Result found = result_of(model);
      EXPECT_LT(distance(found.value, expected.value), bfloat16 ? 1e-2 : 1e-5) << name;
      for (std::size_t i = 0; i < expected.gradients.size(); ++i)
        EXPECT_LT(distance(found.gradients[i].second, expected.gradients[i].second), bfloat16 ? 0.05 : 1e-4)
            << name << (bfloat16 ? " bfloat16 " : " ") << expected.gradients[i].first;
    }
  }
}

// bfloat16 holds these weights exactly: they are kept in it, and learn in float32 all the same.
TEST(DeviceLayers, WeightsThatComeInBFloat16StaySo) {
  const OnDevice on_device;
  Llama model = model_of(small());
  for (auto& [name, t] : model.named_weights())
    t.copy_(t.to(at::kBFloat16));
  const Result expected = result_of(model);
  for (auto& [name, t] : model.named_weights())
    t.requires_grad_(false);
  move_to(model, test_place(true));
  round_matrices(model);
  EXPECT_EQ(model.layers[1].gate.scalar_type(), at::kBFloat16);
  EXPECT_LT(distance(logits(model, pack(kSequences, model.device())).log_softmax(-1), expected.value), 1e-2);
  const Llama copy = model.clone();
  EXPECT_EQ(distance(logits(copy, pack(kSequences, model.device())),
                     logits(model, pack(kSequences, model.device()))),
            0);
}

TEST(DeviceLayers, ARecomputedStepHasTheSameGradients) {
  const at::Tensor x = at::randn({5, 4}), w = at::randn({4, 4});
  std::vector<at::Tensor> of_x, of_w;
  int runs = 0;
  for (const bool again : {false, true}) {
    const at::Tensor from = x.clone().requires_grad_(true), weight = w.clone().requires_grad_(true);
    const auto step = [&](const at::Tensor& y) { return ++runs, at::tanh(at::mm(y, weight)); };
    const at::Tensor y = again ? recomputed(step, recomputed(step, from, true), true) : step(step(from));
    y.square().sum().backward();
    of_x.push_back(from.grad()), of_w.push_back(weight.grad());
  }
  EXPECT_EQ(runs, 2 + 4);
  EXPECT_TRUE(at::equal(of_x[0], of_x[1]));
  EXPECT_LT(distance(of_w[1], of_w[0]), 1e-6);
}

struct Losses {
  at::Tensor logs, divergences, odds, entropies, to_hidden, to_head;
};

Losses losses_of(const at::Device& device, bool learns, bool bfloat16, double cap, bool reverse) {
  at::manual_seed(3);
  const at::Tensor hidden = at::randn({300, 32}).to(device).requires_grad_(true),
                   weight = at::randn({50, 32}).to(device).requires_grad_(learns),
                   before = at::randn({300, 32}).to(device), old = at::randn({50, 32}).to(device),
                   targets = at::randint(50, {300}, at::kLong).to(device), w = at::randn({300}).to(device);
  const std::vector<std::vector<int>> sets(300, {3, 17, 20});
  const LmHead head(weight, bfloat16, cap), old_head(old, bfloat16, cap);
  const NextTokens then = next_tokens(before, old_head, targets, 0.8, learns, reverse);
  const TokenLogProbabilities now = token_log_probabilities(hidden, head, targets, 0.8, &then);
  const at::Tensor odds = log_odds(hidden, head, sets);
  ((now.log_probabilities + 0.5 * now.divergences + odds) * w).sum().backward();
  const c10::NoGradGuard no_gradients;
  return {now.log_probabilities,
          now.divergences,
          odds,
          token_log_probabilities(hidden, head, targets, 0.8).entropies,
          hidden.grad(),
          learns ? weight.grad() : at::Tensor()};
}

TEST(DeviceLosses, AreThoseOfTheCpusOwnCode) {
  for (const bool learns : {false, true})
    for (const double cap : {0.0, 5.0})
      for (const bool reverse : {false, true})
        for (const bool bfloat16 : {false, true}) {
          const Losses expected = losses_of(at::kCPU, learns, false, cap, reverse);
          const OnDevice on_device;
          const Losses found = losses_of(device_of(test_place(bfloat16)), learns, bfloat16, cap, reverse);
          const std::string where = std::string(learns ? "learning" : "frozen") +
                                    (bfloat16 ? " bfloat16" : "") + (reverse ? " reverse" : "") + " cap " +
                                    std::to_string(cap);
          const double most = bfloat16 ? 2e-2 : 1e-4;
          EXPECT_LT(distance(found.logs, expected.logs), most) << where;
          EXPECT_LT(distance(found.divergences, expected.divergences), most) << where;
          EXPECT_LT(distance(found.odds, expected.odds), most) << where;
          EXPECT_LT(distance(found.entropies, expected.entropies), most) << where;
          EXPECT_LT(distance(found.to_hidden, expected.to_hidden), most) << where;
          if (learns) {
            EXPECT_LT(distance(found.to_head, expected.to_head), most) << where;
          }
        }
}

}  // namespace
}  // namespace cai
