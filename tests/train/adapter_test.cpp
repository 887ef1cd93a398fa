// Training an adapter against PEFT and torch's AdamW (tests/golden/adapters.py).
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/model/adapter.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/train/answers.hpp"
#include "cai/model/llama.hpp"
#include "cai/train/trainable.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;
const fs::path kGolden = fs::path(CAI_SOURCE_DIR) / "tests/model/golden";

double distance(const at::Tensor& found, const Json& golden) {
  const at::Tensor expected = at::tensor(golden.get<std::vector<float>>(), at::kFloat).view(found.sizes());
  return ((found.detach() - expected).norm() / expected.norm()).item<double>();
}

TEST(AdapterGolden, LossGradientsAndThreeStepsAgreeWithPeft) {
  const fs::path folder = kGolden / "adapters/llama";
  const Json golden = parse_json(read_file(folder / "golden.json"), "golden.json")["training"];
  const auto model = load_llama(kGolden / "llama-tied");
  load_adapter(*model, folder);
  const NamedTensors weights = adapter_weights(*model);
  ASSERT_EQ(weights.size(), golden["gradients"].size());
  for (const auto& [name, w] : weights)
    w.requires_grad_(true);
  std::vector<TrainExample> examples;
  for (const Json& e : golden["examples"])
    examples.push_back({"e", e["tokens"].get<std::vector<int>>(), e["prompt"].get<int>(), 1});
  const AnswerBatch batch = answer_batch({&examples[0], &examples[1]}, at::kCPU);
  AdamW optimiser(weights, 1e-8, 0.01);
  const LmHead head(model->head);
  for (std::size_t step = 0; step < 3; ++step) {
    const at::Tensor loss = -answer_log_probabilities(*model, head, batch, 0).mean();
    EXPECT_NEAR(loss.item<double>(), golden["losses"][step].get<double>(), 1e-4);
    loss.backward();
    for (const auto& [name, w] : weights)
      if (step == 0) {
        EXPECT_LT(distance(w.grad(), golden["gradients"].at(name)), 1e-4) << name;
      }
    optimiser.step(0.01, 0);
  }
  for (const auto& [name, w] : weights)
    EXPECT_LT(distance(w, golden["after"].at(name)), 1e-4) << name;
}

TEST(AdapterTraining, WithoutARankTheWeightsLearnAsBefore) {
  const auto a = load_llama(kGolden / "llama-tied"), b = load_llama(kGolden / "llama-tied");
  for (const long layers : {0, 1}) {
    OptimiserConfig optimiser;
    optimiser.trainable_layers = layers;
    EXPECT_EQ(first_trainable_layer(a->config, optimiser), first_trainable_layer(a->config, layers));
    const NamedTensors x = make_trainable(*a, optimiser, 1), y = make_trainable(*b, layers);
    ASSERT_EQ(x.size(), y.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(x[i].first, y[i].first);
      EXPECT_TRUE(at::equal(x[i].second, y[i].second));
    }
  }
}

TEST(AdapterTraining, LeavesTheWeightsAsTheyAreAndGoesOnWithAnAdapterOfItsSettings) {
  const auto model = load_llama(kGolden / "llama-tied");
  const Llama before = *model;
  OptimiserConfig optimiser;
  optimiser.lora = {.rank = 2, .layers = 1};
  EXPECT_EQ(first_trainable_layer(model->config, optimiser), 1);
  const NamedTensors weights = make_trainable(*model, optimiser, 1);
  EXPECT_EQ(weights.size(), 14);
  for (const auto& [name, w] : model->named_weights())
    EXPECT_FALSE(w.requires_grad()) << name;
  for (const auto& [name, w] : weights) {
    EXPECT_TRUE(w.requires_grad()) << name;
    const at::NoGradGuard no_gradients;
    at::Tensor(w).add_(0.5);
  }
  EXPECT_TRUE(model->layers[1].q.is_same(before.layers[1].q));
  EXPECT_EQ(before.layers[1].adapter, nullptr);
  Llama value = *model;  // with the same settings its adapter goes on, in a copy
  const NamedTensors copies = make_trainable(value, optimiser, 2);
  EXPECT_TRUE(at::equal(copies[1].second, weights[1].second));
  EXPECT_FALSE(copies[1].second.is_same(weights[1].second));
  optimiser.lora.rank = 3;  // with others it is merged, and a new one begins
  EXPECT_EQ(make_trainable(value, optimiser, 2)[0].second.size(0), 3);
  EXPECT_TRUE(at::allclose(value.layers[1].q, merged(*model).layers[1].q, 1e-5, 1e-6));
}

}  // namespace
}  // namespace cai
