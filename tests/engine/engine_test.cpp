#include "cai/engine/engine.hpp"
#include "cai/engine/products.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/log_softmax.h>
#include <gtest/gtest.h>
#include <omp.h>

#include "cai/base/error.hpp"
#include "cai/model/llama.hpp"
#include "cai/model/tensors.hpp"

namespace cai {
namespace {

ModelConfig tiny() {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.layers = 3, c.width = 48, c.heads = 6, c.kv_heads = 2, c.head_width = 8, c.ffn_width = 80,
  c.vocabulary = 97, c.context = 160;
  c.tied_head = true;
  return c;
}

// Heads as wide as those that attention takes in tiles, where the CPU has such.
ModelConfig wide_heads() {
  ModelConfig c = tiny();
  c.head_width = 64, c.context = 400;
  return c;
}

// Random weights of the usual size give logits near zero; larger ones make the next token matter.
Llama model_of(const ModelConfig& config, std::uint64_t seed) {
  Llama m = random_llama(config, seed);
  for (auto& [name, t] : m.named_weights())
    if (name.find("norm") == std::string::npos) t.mul_(6.0);
  return m;
}

std::vector<int> tokens_of(Random random, std::size_t n, int vocabulary) {
  std::vector<int> t(n);
  for (int& x : t)
    x = static_cast<int>(random.below(static_cast<std::uint64_t>(vocabulary)));
  return t;
}

// A third of them share their first `prefix` tokens; every tenth is so long, context permitting, that it
// takes more than one pass to read.
std::vector<Request> requests_of(std::size_t n, const ModelConfig& c, int prefix) {
  const int vocabulary = static_cast<int>(c.vocabulary);
  std::vector<Request> all;
  const std::vector<int> shared = tokens_of(Random(99), static_cast<std::size_t>(prefix), vocabulary);
  for (std::size_t i = 0; i < n; ++i) {
    const Random random = Random(5).derive(i);
    Request r;
    if (i % 3 == 1) r.prompt = shared;
    const std::vector<int> own =
        tokens_of(random.derive("prompt"), i % 10 == 0 && c.context > 300 ? 250 : 1 + i * 7 % 50, vocabulary);
    r.prompt.insert(r.prompt.end(), own.begin(), own.end());
    r.max_new_tokens = static_cast<int>(1 + i * 5 % 40);
    r.temperature = i % 4 == 0 ? 0.0 : 1.0;
    r.stops = {static_cast<int>(i % 7)};
    r.random = random;
    all.push_back(r);
  }
  return all;
}

std::vector<Completion> run(Engine& engine, std::span<const Request> requests) {
  std::vector<Completion> all(requests.size());
  std::vector<int> calls(requests.size());
  engine.generate(requests, [&](std::size_t i, Completion c) { all[i] = std::move(c), ++calls[i]; });
  for (int n : calls)
    EXPECT_EQ(n, 1);
  return all;
}

// On a device, products of other numbers of rows may round differently.
void expect_same(const std::vector<float>& a, const std::vector<float>& b, const std::string& where) {
  ASSERT_EQ(a.size(), b.size()) << where;
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_NEAR(a[i], b[i], is_plain_arithmetic() ? 2e-4 : 0) << where << " token " << i;
}

void expect_same(const Completion& a, const Completion& b, std::size_t i) {
  EXPECT_EQ(a.tokens, b.tokens) << "request " << i;
  expect_same(a.log_probabilities, b.log_probabilities, "request " + std::to_string(i));
  EXPECT_EQ(a.finish, b.finish) << "request " << i;
}

TEST(Engine, ARequestDoesNotDependOnItsNeighboursTheBatchOrTheThreads) {
  for (const ModelConfig& config : {tiny(), wide_heads()}) {
    const Llama model = model_of(config, 1);
    const std::vector<Request> requests = requests_of(40, config, config.head_width == 64 ? 77 : 20);
    for (const char* dtype : {"float32", "bfloat16", "int8", "auto"}) {
      if (std::string(dtype) == "int8" && !has_int8_products()) continue;
      Engine wide(model, {.dtype = dtype, .max_sequences = 40}),
          narrow(model, {.dtype = dtype, .max_sequences = 3});
      const std::vector<Completion> expected = run(wide, requests);
      const std::vector<Completion> few = run(narrow, requests);
      for (std::size_t i = 0; i < requests.size(); ++i)
        expect_same(expected[i], few[i], i);
      const int threads = omp_get_max_threads();
      omp_set_num_threads(1);
      for (std::size_t i = 0; i < requests.size(); ++i)
        expect_same(expected[i], run(narrow, std::span(&requests[i], 1))[0], i);
      omp_set_num_threads(threads);
    }
  }
}

TEST(Engine, ASharedPrefixChangesNoBit) {
  for (const int prefix : {20, 77, 96}) {
    const Llama model = model_of(wide_heads(), 2);
    const std::vector<Request> requests = requests_of(24, wide_heads(), prefix);
    Engine engine(model), alone(model);
    const std::vector<Completion> together = run(engine, requests);
    EXPECT_GE(engine.counts().shared_tokens, 7 * prefix);
    for (std::size_t i = 0; i < requests.size(); ++i)
      expect_same(together[i], run(alone, std::span(&requests[i], 1))[0], i);
    EXPECT_EQ(alone.counts().shared_tokens, 0);
  }
}

// The plain forward of model/ is the reference of the fast one, for every flag of the family.
TEST(Engine, LogProbabilitiesAgreeWithThePlainForwardForEveryArchitectureFlag) {
  std::vector<ModelConfig> configs(10, tiny());
  configs[1].tied_head = false, configs[1].kv_heads = 6;
  configs[2].sliding_window = 9;
  configs[3].qkv_bias = true;
  configs[4].qk_norm = true, configs[4].head_width = 16;
  configs[5].rope_scaling = {.kind = RopeKind::kLlama3,
                             .factor = 8,
                             .original_context = 32,
                             .low_frequency_factor = 1,
                             .high_frequency_factor = 4};
  configs[6].rotary_width = 6, configs[6].rotated = {true, false, true}, configs[6].attention_scale = 0.2;
  configs[6].rope_scaling = {.kind = RopeKind::kYarn, .factor = 4, .original_context = 32};
  configs[7].gelu = configs[7].norms_after = configs[7].qk_norm = true, configs[7].embedding_scale = 2;
  configs[7].sliding_window = 9, configs[7].windowed = {true, true, false}, configs[7].window_rope_base = 100;
  configs[8].norms_before = false,
  configs[8].norms_after = configs[8].qk_norm = configs[8].qk_norm_is_whole = true,
  configs[8].logit_divisor = 3;
  configs[9].residual_scale = 0.3, configs[9].output_bias = true, configs[9].attention_cap = 2,
  configs[9].logit_cap = 4;
  for (std::size_t c = 0; c < configs.size(); ++c) {
    const Llama model = model_of(configs[c], 10 + c);
    Engine engine(model, {.dtype = "float32"});
    const std::vector<int> prompt = tokens_of(Random(c).derive("p"), 31, 97),
                           answer = tokens_of(Random(c).derive("a"), 17, 97);
    std::vector<int> all = prompt;
    all.insert(all.end(), answer.begin(), answer.end());
    const at::Tensor expected = at::log_softmax(logits(model, pack({all})), -1);
    const ScoreRequest request{prompt, answer};
    const std::vector<float> got = engine.score(std::span(&request, 1))[0];
    ASSERT_EQ(got.size(), answer.size());
    for (std::size_t i = 0; i < answer.size(); ++i)
      EXPECT_NEAR(got[i], expected[static_cast<std::int64_t>(prompt.size() + i) - 1][answer[i]].item<float>(),
                  2e-4)
          << "config " << c << " token " << i;

    Request greedy{.prompt = prompt, .max_new_tokens = 20, .temperature = 0};
    const Completion completion = run(engine, std::span(&greedy, 1))[0];
    const ScoreRequest again{prompt, completion.tokens};
    expect_same(engine.score(std::span(&again, 1))[0], completion.log_probabilities,
                "config " + std::to_string(c));
  }
}

TEST(Engine, AChoiceIsTheScoreOfOneToken) {
  const Llama model = model_of(tiny(), 3);
  Engine engine(model);
  std::vector<ChoiceRequest> choices;
  std::vector<ScoreRequest> scores;
  for (std::size_t i = 0; i < 30; ++i) {
    std::vector<int> prompt = i % 2 ? tokens_of(Random(99), 20, 97) : std::vector<int>();
    const std::vector<int> own = tokens_of(Random(i), 5 + i * 11 % 90, 97);
    prompt.insert(prompt.end(), own.begin(), own.end());
    choices.push_back({prompt, {3, 17, 96}});
    for (int option : {3, 17, 96})
      scores.push_back({prompt, {option}});
  }
  const auto chosen = engine.choose(choices);
  const auto scored = engine.score(scores);
  for (std::size_t i = 0; i < choices.size(); ++i)
    for (std::size_t o = 0; o < 3; ++o)
      expect_same({chosen[i][o]}, {scored[i * 3 + o][0]}, std::to_string(i));
}

TEST(Engine, EndsAtAStopTokenTheLimitOrTheFullContext) {
  const Llama model = model_of(tiny(), 4);
  Engine engine(model);
  Request r{.prompt = tokens_of(Random(1), 155, 97), .max_new_tokens = 50, .temperature = 0};
  Completion c = run(engine, std::span(&r, 1))[0];
  EXPECT_EQ(c.finish, Finish::kContext);
  EXPECT_EQ(c.tokens.size(), 5u);
  r.stops = {c.tokens[2]};
  const std::size_t first =
      static_cast<std::size_t>(std::find(c.tokens.begin(), c.tokens.end(), c.tokens[2]) - c.tokens.begin());
  c = run(engine, std::span(&r, 1))[0];
  EXPECT_EQ(c.finish, Finish::kStop);
  EXPECT_EQ(c.tokens.size(), first + 1);
  r.stops = {};
  r.max_new_tokens = 2;
  EXPECT_EQ(run(engine, std::span(&r, 1))[0].finish, Finish::kLength);
  r.prompt = tokens_of(Random(1), 160, 97);
  c = run(engine, std::span(&r, 1))[0];
  EXPECT_EQ(c.finish, Finish::kContext);
  EXPECT_TRUE(c.tokens.empty());
}

TEST(Engine, RefreshTakesTheNewWeights) {
  Llama model = model_of(tiny(), 5);
  Engine engine(model);
  const Llama other = model_of(tiny(), 6);
  Engine fresh(other);
  engine.refresh(other);
  const ScoreRequest request{tokens_of(Random(1), 10, 97), tokens_of(Random(2), 5, 97)};
  EXPECT_EQ(engine.score(std::span(&request, 1)), fresh.score(std::span(&request, 1)));
}

TEST(Engine, RefreshLeavesUnchangedLayersAsTheyAre) {
  Llama model = model_of(tiny(), 5);
  Engine engine(model);
  const Llama other = model_of(tiny(), 6);
  const ScoreRequest request{tokens_of(Random(1), 10, 97), tokens_of(Random(2), 5, 97)};
  const std::vector<std::vector<float>> before = engine.score(std::span(&request, 1));
  model.layers.back() = other.layers.back(), model.norm = other.norm;
  engine.refresh(model, model.config.layers - 1);
  const std::vector<std::vector<float>> after = engine.score(std::span(&request, 1));
  EXPECT_NE(after, before);
  EXPECT_EQ(after, Engine(model).score(std::span(&request, 1)));
}

TEST(Engine, RefusesATextLongerThanTheContext) {
  const Llama model = model_of(tiny(), 7);
  Engine engine(model);
  const ScoreRequest request{tokens_of(Random(1), 200, 97), {1}};
  EXPECT_THROW(engine.score(std::span(&request, 1)), InputError);
}

}  // namespace
}  // namespace cai
