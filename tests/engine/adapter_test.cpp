// The engine, which takes an adapter's weights merged, against the training forward, which does not.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "cai/engine/engine.hpp"
#include "cai/model/adapter.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(CAI_SOURCE_DIR) / "tests/model/golden";
const std::vector<int> kTokens = {5, 9, 13, 4, 30, 7, 19, 2, 40, 11};

// Log-probabilities of the tokens after the first.
std::vector<float> of_forward(const Llama& model) {
  const at::NoGradGuard no_gradients;
  const at::Tensor logs = logits(model, pack({kTokens})).log_softmax(-1);
  std::vector<float> found;
  for (std::size_t i = 1; i < kTokens.size(); ++i)
    found.push_back(logs[static_cast<std::int64_t>(i) - 1][kTokens[i]].item<float>());
  return found;
}

std::vector<float> of_engine(Engine& engine) {
  const ScoreRequest request{{kTokens.front()}, {kTokens.begin() + 1, kTokens.end()}};
  return engine.score({&request, 1}).front();
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, static_cast<double>(std::abs(a[i] - b[i])));
  return most;
}

TEST(EngineAdapter, MergedWeightsSayWhatTheForwardWithTheAdapterSays) {
  for (const bool bfloat16 : {false, true}) {
    const auto model = load_llama(kGolden / "llama-tied", {.bfloat16 = bfloat16});
    Engine engine(*model, {.dtype = bfloat16 ? "bfloat16" : "float32"});
    const std::vector<float> plain = of_engine(engine);
    load_adapter(*model, kGolden / "adapters/llama");
    engine.refresh(*model);
    EXPECT_LT(difference(of_engine(engine), of_forward(*model)), bfloat16 ? 0.1 : 2e-4);
    EXPECT_GT(difference(of_engine(engine), plain), 0.3);  // the adapter adds something
    // Layers below the adapter stay as they are packed.
    load_adapter(*model, kGolden / "adapters/llama-top");
    Engine whole(*model, {.dtype = bfloat16 ? "bfloat16" : "float32"});
    for (LlamaLayer& layer : model->layers)
      layer.adapter = nullptr;
    engine.refresh(*model);
    EXPECT_EQ(of_engine(engine), plain);
    load_adapter(*model, kGolden / "adapters/llama-top");
    engine.refresh(*model, 1);
    EXPECT_EQ(of_engine(engine), of_engine(whole));
  }
}

}  // namespace
}  // namespace cai
