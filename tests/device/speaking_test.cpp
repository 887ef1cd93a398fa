// The engine on a device: transformers' figures (tests/golden), what a request may and may not depend on, and
// the distribution that tokens are drawn from.
#include <c10/core/GradMode.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "cai/engine/device_sampling.hpp"
#include "cai/engine/engine.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/model/checkpoint.hpp"
#include "device.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;
const fs::path kGolden = fs::path(CAI_SOURCE_DIR) / "tests/model/golden";

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.cpu() - b.cpu()).abs().max().item<double>();
}

class DeviceGolden : public testing::TestWithParam<const char*> {};

TEST_P(DeviceGolden, HasTheNextTokensOfTransformers) {
  const OnDevice on_device;
  const fs::path folder = kGolden / GetParam();
  const Json golden = parse_json(read_file(folder / "golden.json"), "golden.json");
  const auto sequences = golden["sequences"].get<std::vector<std::vector<int>>>();
  const bool is_family = golden.contains("last_logits");
  for (const auto& [bfloat16, most] : {std::pair(false, 2e-4), {true, 0.3}}) {
    const Place place = test_place(bfloat16);
    Engine engine(LlamaReader(folder), {.max_sequences = 8, .place = place});
    const auto model = load_llama(folder, place);
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      const at::NoGradGuard no_gradients;
      const Json& row = is_family ? golden["last_logits"][s] : golden["last_three_logits"][s].back();
      const at::Tensor expected = at::log_softmax(at::tensor(row.get<std::vector<float>>()), -1);
      const auto n = expected.size(0);
      const at::Tensor whole = logits(*model, pack({sequences[s]}, model->device()));
      EXPECT_LT(largest_difference(at::log_softmax(whole.select(0, -1), -1).narrow(0, 0, n), expected), most)
          << s;
      if (n != model->config.vocabulary) continue;
      ChoiceRequest request{sequences[s], std::vector<int>(static_cast<std::size_t>(n))};
      std::iota(request.options.begin(), request.options.end(), 0);
      EXPECT_LT(largest_difference(at::tensor(engine.choose(std::span(&request, 1))[0]), expected), most)
          << s;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, DeviceGolden,
                         testing::Values("llama-tied", "llama3-scaled", "llama-bfloat16-sharded",
                                         "mistral-window", "qwen2-bias", "qwen3-norm", "families/phi3",
                                         "families/smollm3", "families/gemma", "families/gemma2",
                                         "families/gemma3", "families/olmo2", "families/olmo3",
                                         "families/granite", "families/qwen3-upper-windows",
                                         "families/qwen2-windows"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           std::replace(name.begin(), name.end(), '/', '_');
                           return name;
                         });

ModelConfig tiny() {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.layers = 2, c.width = 64, c.heads = 4, c.kv_heads = 2, c.head_width = 64, c.ffn_width = 80,
  c.vocabulary = 97, c.context = 900, c.tied_head = true;
  return c;
}

Llama model_of(const Place& place) {
  Llama m = random_llama(tiny(), 1);
  for (auto& [name, t] : m.named_weights())
    if (name.find("norm") == std::string::npos) t.mul_(6.0);
  move_to(m, place);
  return m;
}

std::vector<int> tokens_of(Random random, std::size_t n) {
  std::vector<int> t(n);
  for (int& x : t)
    x = static_cast<int>(random.below(97));
  return t;
}

// Some share their first tokens; some take several passes to read.
std::vector<Request> requests() {
  std::vector<Request> all;
  for (std::size_t i = 0; i < 13; ++i) {
    const Random random = Random(5).derive(i);
    Request r;
    if (i % 3 == 1) r.prompt = tokens_of(Random(99), 77);
    const std::vector<int> own = tokens_of(random.derive("prompt"), i == 10 ? 530 : 1 + i * 7 % 50);
    r.prompt.insert(r.prompt.end(), own.begin(), own.end());
    r.max_new_tokens = static_cast<int>(1 + i * 5 % 40), r.temperature = i % 4 == 0 ? 0.0 : 1.0;
    r.top_p = i % 5 == 2 ? 0.8 : 1, r.stops = {static_cast<int>(i % 7)}, r.random = random;
    all.push_back(r);
  }
  return all;
}

std::vector<Completion> run(Engine& engine, std::span<const Request> asked) {
  std::vector<Completion> all(asked.size());
  engine.generate(asked, [&](std::size_t i, Completion c) { all[i] = std::move(c); });
  return all;
}

// Alone, beside others, in an engine that has had other work: the same bits.
TEST(DeviceEngine, ARequestDoesNotDependOnItsNeighbours) {
  const OnDevice on_device;
  for (const bool bfloat16 : {false, true}) {
    const Llama model = model_of(test_place(bfloat16));
    const std::vector<Request> asked = requests();
    Engine engine(model, {.max_sequences = 16, .place = model.place});
    const std::vector<Completion> together = run(engine, asked);
    EXPECT_GT(engine.counts().shared_tokens, 0);
    for (std::size_t i = 0; i < asked.size(); i += 5) {
      const Completion alone = run(engine, std::span(&asked[i], 1))[0];
      EXPECT_EQ(alone.tokens, together[i].tokens) << i << (bfloat16 ? " bfloat16" : "");
      EXPECT_EQ(alone.log_probabilities, together[i].log_probabilities) << i << (bfloat16 ? " bfloat16" : "");
    }
  }
}

TEST(DeviceEngine, WhatIsDrawnHasTheLogProbabilityThatIsReadAfterwards) {
  const OnDevice on_device;
  for (const bool bfloat16 : {false, true}) {
    const Llama model = model_of(test_place(bfloat16));
    const std::vector<Request> asked = requests();
    Engine engine(model, {.max_sequences = 16, .place = model.place});
    const std::vector<Completion> drawn = run(engine, asked);
    std::vector<ScoreRequest> again;
    for (std::size_t i = 0; i < asked.size(); ++i)
      again.push_back({asked[i].prompt, drawn[i].tokens});
    const auto found = engine.score(again);
    for (std::size_t i = 0; i < asked.size(); ++i)
      for (std::size_t t = 0; t < found[i].size(); ++t)
        EXPECT_NEAR(found[i][t], drawn[i].log_probabilities[t], bfloat16 ? 0.15 : 2e-4)
            << i << " token " << t;
  }
}

// In float32 the CPU's own engine says the same words.
TEST(DeviceEngine, SaysWhatTheCpusOwnEngineSays) {
  const Llama own = model_of(Place{});
  Engine reference(own, {.dtype = "float32"});
  const std::vector<Request> asked = requests();
  const std::vector<Completion> expected = run(reference, asked);
  const OnDevice on_device;
  const Llama model = model_of(test_place(false));
  Engine engine(model, {.max_sequences = 16, .place = model.place});
  const std::vector<Completion> found = run(engine, asked);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    EXPECT_EQ(found[i].tokens, expected[i].tokens) << i;
    EXPECT_EQ(found[i].finish, expected[i].finish) << i;
    for (std::size_t t = 0; t < std::min(found[i].tokens.size(), expected[i].tokens.size()); ++t)
      EXPECT_NEAR(found[i].log_probabilities[t], expected[i].log_probabilities[t], 2e-4)
          << i << " token " << t;
  }
}

TEST(DeviceSampling, DrawsAsTheCpuDoes) {
  const OnDevice on_device;
  at::manual_seed(4);
  const at::Device device = device_of(test_place(false));
  for (const double top_p : {1.0, 0.6})
    for (const double temperature : {0.0, 0.7, 1.0}) {
      const at::Tensor logits = at::randn({64, 1500}) * 3;
      std::vector<Random> ours(64), theirs(64);
      std::vector<Drawing> drawings;
      for (std::int64_t i = 0; i < 64; ++i) {
        const auto n = static_cast<std::size_t>(i);
        ours[n] = theirs[n] = Random(9).derive(n);
        drawings.push_back({i, temperature, top_p, &theirs[n]});
      }
      std::vector<Sampled> found(64);
      draw_on_device(logits.to(device), drawings, found);
      int same = 0;
      for (std::size_t i = 0; i < 64; ++i) {
        const Sampled expected =
            sample(std::span(logits[static_cast<std::int64_t>(i)].data_ptr<float>(), 1500), temperature,
                   top_p, ours[i]);
        same += found[i].token == expected.token;
        if (found[i].token == expected.token) {
          EXPECT_NEAR(found[i].log_probability, expected.log_probability, 1e-4);
        }
        EXPECT_EQ(ours[i].uniform(), theirs[i].uniform());  // as many draws were taken
      }
      EXPECT_GE(same, 63) << temperature << " " << top_p;  // a draw at the edge of a token may fall beside it
    }
}

}  // namespace
}  // namespace cai
