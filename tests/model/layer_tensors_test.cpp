// The list of a layer's tensors has all of them, for whoever names, copies or compares a layer.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "cai/model/layer_tensors.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

ModelConfig with_everything() {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.layers = 2, c.width = 8, c.heads = 2, c.kv_heads = 1, c.head_width = 4, c.ffn_width = 12,
  c.vocabulary = 10, c.context = 16;
  c.qkv_bias = c.output_bias = c.qk_norm = c.norms_after = true;
  return c;
}

std::size_t count_of(LlamaLayer& layer) {
  std::size_t count = 0;
  for_each_tensor(layer, [&](at::Tensor&) { ++count; });
  return count;
}

TEST(LayerTensors, AreAllThatALayerHas) {
  LlamaLayer layer;
  EXPECT_EQ(count_of(layer) * sizeof(at::Tensor) + sizeof(layer.adapter), sizeof(LlamaLayer));
  std::set<std::string> hf, gguf;
  for (const LayerTensor& t : layer_tensors(with_everything()))
    hf.insert(t.hf), gguf.insert(t.gguf);
  EXPECT_EQ(hf.size(), count_of(layer));
  EXPECT_EQ(gguf.size(), count_of(layer));
}

TEST(LayerTensors, AreNamedClonedAndComparedOneByOne) {
  const Llama model = random_llama(with_everything(), 1);
  EXPECT_EQ(model.named_weights().size(), 2 * layer_tensors(model.config).size() + 3);
  for (const LayerTensor& t : layer_tensors(model.config)) {
    const Llama other = model.clone();
    EXPECT_TRUE(is_same(model.layers[0], other.layers[0]));
    (other.layers[0].*t.tensor).add_(1);
    EXPECT_FALSE(is_same(model.layers[0], other.layers[0])) << t.hf;
    EXPECT_TRUE(is_same(model.layers[1], other.layers[1])) << t.hf;
    LlamaLayer without = model.layers[0];
    without.*t.tensor = at::Tensor();
    EXPECT_FALSE(is_same(model.layers[0], without)) << t.hf;
  }
}

}  // namespace
}  // namespace cai
