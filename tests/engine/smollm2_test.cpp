// The fast path on the default model against transformers' greedy answers (tests/golden/smollm2.py).
#include <gtest/gtest.h>

#include <filesystem>

#include "cai/engine/engine.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/model/checkpoint.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

TEST(SmolLM2, GreedyAnswersAreThoseOfTransformers) {
  const fs::path model = fs::path(CAI_SOURCE_DIR) / ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  ASSERT_TRUE(fs::exists(model)) << "the default model is not there; scripts/test fetches it";
  const Json golden = parse_json(read_file(fs::path(CAI_SOURCE_DIR) / "tests/model/golden/smollm2.json"), "smollm2.json");
  Engine engine(*load_llama(model));
  std::vector<Request> requests;
  for (const Json& g : golden["greedy"]) requests.push_back({.prompt = g["tokens"].get<std::vector<int>>(), .max_new_tokens = 64, .temperature = 0, .stops = {2}});
  std::vector<std::vector<int>> answers(requests.size());
  engine.generate(requests, [&](std::size_t i, Completion c) { answers[i] = c.tokens; });
  ASSERT_EQ(answers.size(), 20u);
  for (std::size_t i = 0; i < answers.size(); ++i) EXPECT_EQ(answers[i], golden["greedy"][i]["answer"].get<std::vector<int>>()) << "prompt " << i;
}

}  // namespace
}  // namespace cai
