// The fast path on the default model against transformers' greedy answers (tests/golden/smollm2.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>

#include "cai/engine/engine.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/model/checkpoint.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

const fs::path model = fs::path(CAI_SOURCE_DIR) / ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf";

TEST(SmolLM2, GreedyAnswersAreThoseOfTransformers) {
  ASSERT_TRUE(fs::exists(model)) << "the default model is not there; scripts/test fetches it";
  const Json golden =
      parse_json(read_file(fs::path(CAI_SOURCE_DIR) / "tests/model/golden/smollm2.json"), "smollm2.json");
  Engine engine(*load_llama(model), {.dtype = "float32"});
  std::vector<Request> requests;
  for (const Json& g : golden["greedy"])
    requests.push_back({.prompt = g["tokens"].get<std::vector<int>>(),
                        .max_new_tokens = 64,
                        .temperature = 0,
                        .stops = {2}});
  std::vector<std::vector<int>> answers(requests.size());
  engine.generate(requests, [&](std::size_t i, Completion c) { answers[i] = c.tokens; });
  ASSERT_EQ(answers.size(), 20u);
  for (std::size_t i = 0; i < answers.size(); ++i)
    EXPECT_EQ(answers[i], golden["greedy"][i]["answer"].get<std::vector<int>>()) << "prompt " << i;
}

// KL between the next-token distributions of two arithmetics, by the low-variance estimate exp(d) - 1 - d
// over tokens drawn from the float32 one (Schulman, "Approximating KL Divergence").
TEST(SmolLM2, FasterProductsStayWithinAThousandthOfANatOfFloat32) {
  ASSERT_TRUE(fs::exists(model)) << "the default model is not there; scripts/test fetches it";
  const Json golden =
      parse_json(read_file(fs::path(CAI_SOURCE_DIR) / "tests/model/golden/smollm2.json"), "smollm2.json");
  const std::shared_ptr<Llama> weights = load_llama(model);
  Engine exact(*weights, {.dtype = "float32"});
  std::vector<Request> requests;
  for (int sample = 0; sample < 2; ++sample)
    for (const Json& g : golden["greedy"])
      requests.push_back({.prompt = g["tokens"].get<std::vector<int>>(),
                          .max_new_tokens = 64,
                          .random = Random(static_cast<std::uint64_t>(sample)).derive(requests.size())});
  std::vector<Completion> drawn(requests.size());
  exact.generate(requests, [&](std::size_t i, Completion c) { drawn[i] = std::move(c); });
  std::vector<ScoreRequest> again;
  for (std::size_t i = 0; i < drawn.size(); ++i)
    again.push_back({requests[i].prompt, drawn[i].tokens});
  for (const char* dtype : {"bfloat16", "auto"}) {
    Engine rounded(*weights, {.dtype = dtype});
    const std::vector<std::vector<float>> scores = rounded.score(again);
    double kl = 0, n = 0;
    for (std::size_t i = 0; i < drawn.size(); ++i)
      for (std::size_t t = 0; t < drawn[i].tokens.size(); ++t, ++n) {
        const double d = static_cast<double>(scores[i][t]) - drawn[i].log_probabilities[t];
        kl += std::exp(d) - 1 - d;
      }
    EXPECT_GE(n, 2000);
    EXPECT_LT(kl / n, 1e-3) << dtype;
    EXPECT_GT(kl, 0);
    std::printf("%s against float32: %.2e nats over %.0f positions (%s)\n", dtype, kl / n, n,
                rounded.arithmetic().c_str());
  }
}

}  // namespace
}  // namespace cai
