// The engine against transformers on tiny models of each family (tests/golden/families.py): reading, decoding
// with the cache, shared prefixes.
#include "cai/engine/engine.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>

#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

class FamilyEngine : public testing::TestWithParam<const char*> {
 protected:
  const fs::path folder = fs::path(CAI_SOURCE_DIR) / "tests/model/golden/families" / GetParam();
  const Json golden = parse_json(read_file(folder / "golden.json"), "golden.json");
  const std::vector<std::vector<int>> sequences = golden["sequences"].get<std::vector<std::vector<int>>>();
};

TEST_P(FamilyEngine, HasTheNextTokensOfTransformers) {
  std::vector<ChoiceRequest> requests;
  std::vector<int> all(golden["last_logits"][0].size());
  std::iota(all.begin(), all.end(), 0);
  for (const auto& s : sequences)
    requests.push_back({s, all});
  // The cache in bfloat16, and products in whatever the CPU does best, are near; in float32 they are
  // transformers' figures.
  for (const auto& [dtype, most] : {std::pair<const char*, double>("float32", 2e-4), {"auto", 0.3}}) {
    Engine engine(LlamaReader(folder), {.dtype = dtype});
    const auto found = engine.choose(requests);
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      const at::Tensor expected =
          at::log_softmax(at::tensor(golden["last_logits"][s].get<std::vector<float>>()), -1);
      EXPECT_LT((at::tensor(found[s]) - expected).abs().max().item<double>(), most)
          << dtype << " sequence " << s;
    }
  }
}

// Each token that is drawn greedily has the log-probability that the plain forward gives it, far past the
// window, and beside others that share its prefix.
TEST_P(FamilyEngine, DecodesWithTheCacheWhatThePlainForwardSays) {
  const at::NoGradGuard no_gradients;
  const auto model = load_llama(folder);
  Engine engine(*model, {.dtype = "float32"});
  std::vector<Request> requests;
  for (int i = 0; i < 5; ++i) {
    std::vector<int> prompt = sequences[3];
    if (i > 0) prompt.back() = 3 + i, prompt.resize(i == 4 ? 35 : 40);
    requests.push_back({.prompt = prompt, .max_new_tokens = i == 4 ? 1 : 20, .temperature = 0});
  }
  requests.push_back({.prompt = sequences[0], .max_new_tokens = 20, .temperature = 0});
  engine.generate(requests, [&](std::size_t r, const Completion& completion) {
    std::vector<int> text = requests[r].prompt;
    text.insert(text.end(), completion.tokens.begin(), completion.tokens.end());
    const at::Tensor logs = at::log_softmax(logits(*model, pack({text})), -1);
    for (std::size_t i = 0; i < completion.tokens.size(); ++i) {
      const at::Tensor row = logs[static_cast<std::int64_t>(requests[r].prompt.size() + i) - 1];
      EXPECT_NEAR(completion.log_probabilities[i], row[completion.tokens[i]].item<double>(), 2e-4)
          << r << " token " << i;
      EXPECT_GE(completion.log_probabilities[i], row.max().item<double>() - 4e-4) << r << " token " << i;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(All, FamilyEngine,
                         testing::Values("phi3", "smollm3", "gemma", "gemma2", "gemma3", "olmo2", "olmo3",
                                         "granite", "qwen3-upper-windows", "qwen2-windows"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace cai
