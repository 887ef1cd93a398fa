// Residual states against the plain model, and that a text's states depend on the text alone.
#include "cai/engine/state_reader.hpp"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

ModelConfig tiny() {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.layers = 4, c.width = 48, c.heads = 6, c.kv_heads = 2, c.head_width = 8, c.ffn_width = 80,
  c.vocabulary = 97, c.context = 600;
  c.tied_head = true;
  return c;
}

std::vector<StateReader::Text> texts_of(std::size_t n) {
  std::vector<StateReader::Text> texts(n);
  for (std::size_t i = 0; i < n; ++i) {
    Random random = Random(7).derive(i);
    texts[i].tokens.resize(i % 5 == 2 ? 450 : 1 + i * 11 % 70);  // some take more than one pass
    for (int& token : texts[i].tokens)
      token = static_cast<int>(random.below(97));
    texts[i].first = static_cast<std::int64_t>(i) % static_cast<std::int64_t>(texts[i].tokens.size());
  }
  return texts;
}

std::vector<std::vector<float>> read(StateReader& reader, std::span<const StateReader::Text> texts) {
  std::vector<std::vector<float>> all;
  reader.read(texts, [&](std::size_t i, std::span<const float> states) {
    EXPECT_EQ(i, all.size());
    all.emplace_back(states.begin(), states.end());
  });
  return all;
}

TEST(StateReader, GivesTheStatesOfThePlainModel) {
  const Llama model = random_llama(tiny(), 3);
  StateReader reader(model, "float32", {2, 3});
  EXPECT_EQ(reader.width(), 96);
  const std::vector<StateReader::Text> texts = texts_of(9);
  const std::vector<std::vector<float>> all = read(reader, texts);
  ASSERT_EQ(all.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Packed packed = pack({texts[i].tokens});
    const at::Tensor second = run_layers(model, embed(model, packed.tokens), packed, 0, 2),
                     third = run_layers(model, second, packed, 2, 3);
    const std::int64_t length = static_cast<std::int64_t>(texts[i].tokens.size()), first = texts[i].first;
    ASSERT_EQ(static_cast<std::int64_t>(all[i].size()), (length - first) * 96);
    for (std::int64_t p = first; p < length; ++p)
      for (std::int64_t k = 0; k < 96; ++k)
        ASSERT_NEAR(all[i][static_cast<std::size_t>((p - first) * 96 + k)],
                    (k < 48 ? second : third).data_ptr<float>()[p * 48 + k % 48], 2e-5);
  }
}

TEST(StateReader, BitsDependOnTheTextAlone) {
  const Llama model = random_llama(tiny(), 4);
  for (const char* dtype : {"float32", "auto"}) {
    StateReader reader(model, dtype, {1, 4});  // the last layer too
    const std::vector<StateReader::Text> texts = texts_of(23);
    const std::vector<std::vector<float>> together = read(reader, texts);
    for (std::size_t i = 0; i < texts.size(); ++i)
      EXPECT_EQ(read(reader, {&texts[i], 1}).front(), together[i]) << i;
  }
}

TEST(StateReader, RefusesWhatItCannotRead) {
  const Llama model = random_llama(tiny(), 5);
  for (const std::vector<std::int64_t>& layers :
       std::vector<std::vector<std::int64_t>>{{}, {0}, {2, 2}, {3, 1}, {5}})
    EXPECT_THROW(StateReader(model, "float32", layers), Bug);
  StateReader reader(model, "float32", {2});
  for (const std::vector<int>& tokens :
       {std::vector<int>{}, std::vector<int>(601, 1), std::vector<int>{97}}) {
    const StateReader::Text text{tokens, 0};
    EXPECT_THROW(read(reader, {&text, 1}), Bug);
  }
}

}  // namespace
}  // namespace cai
