// What GGUF metadata says of a model's shape, for each architecture and kind of rotary scaling.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cai/base/error.hpp"
#include "cai/model/config.hpp"

namespace cai {
namespace {

struct Gguf {
  GgufFile file;
  std::vector<std::vector<float>> lists;

  explicit Gguf(const std::string& architecture) {
    lists.reserve(4);
    file.metadata["general.architecture"] = architecture;
    const std::pair<const char*, double> shape[] = {
        {"block_count", 6},          {"embedding_length", 64},
        {"attention.head_count", 4}, {"attention.head_count_kv", 2},
        {"feed_forward_length", 96}, {"context_length", 131072},
        {"rope.freq_base", 500000},  {"attention.layer_norm_rms_epsilon", static_cast<double>(1e-6f)}};
    for (const auto& [key, value] : shape)
      file.metadata[architecture + "." + key] = value;
    file.tensors.push_back({"token_embd.weight", GgufType::kF32, {100, 64}, {}});
  }
  Gguf& with(const std::string& key, GgufValue value) {
    file.metadata[std::get<std::string>(file.metadata["general.architecture"]) + "." + key] =
        std::move(value);
    return *this;
  }
  Gguf& with_list(const std::string& name, std::vector<float> values) {
    lists.push_back(std::move(values));
    file.tensors.push_back({name,
                            GgufType::kF32,
                            {static_cast<std::int64_t>(lists.back().size())},
                            std::as_bytes(std::span(lists.back()))});
    return *this;
  }
  ModelConfig config() const { return parse_model_config(file, "model.gguf"); }
};

// The divisors that llama.cpp's converter makes of Llama 3.1's and 3.2's settings.
std::vector<float> llama3_divisors(double factor, int pairs) {
  std::vector<float> all;
  for (int i = 0; i < pairs; ++i) {
    const double wave = 2 * M_PI * std::pow(500000.0, static_cast<double>(i) / pairs);
    const double smooth = (8192 / wave - 1) / (4 - 1);
    all.push_back(static_cast<float>(wave < 8192.0 / 4 ? 1
                                     : wave > 8192     ? factor
                                                       : 1 / ((1 - smooth) / factor + smooth)));
  }
  return all;
}

TEST(ConfigGguf, RotaryDivisorsAreTheScalingThatTheyWereMadeFrom) {
  for (const double factor : {8.0, 32.0}) {
    const ModelConfig c = Gguf("llama").with_list("rope_freqs.weight", llama3_divisors(factor, 8)).config();
    EXPECT_EQ(c.rope_scaling.kind, RopeKind::kLlama3);
    EXPECT_EQ(c.rope_scaling.factor, factor);
    EXPECT_EQ(to_hf_json(c, "float32")["rope_scaling"]["original_max_position_embeddings"], 8192);
  }
  const std::vector<float> other{1, 1, 1, 1.5, 2, 3, 4, 5};
  const ModelConfig c = Gguf("llama").with_list("rope_freqs.weight", other).config();
  EXPECT_EQ(c.rope_scaling.kind, RopeKind::kLongrope);
  EXPECT_EQ(c.rope_scaling.short_factors, std::vector<double>(other.begin(), other.end()));
  EXPECT_EQ(c.context, 131072);
  EXPECT_EQ(parse_model_config(to_hf_json(c, "float32"), "saved").context, 131072);
}

TEST(ConfigGguf, ScalingsAreReadOrNamed) {
  const ModelConfig linear = Gguf("llama")
                                 .with("rope.scaling.type", std::string("linear"))
                                 .with("rope.scaling.factor", 4.0)
                                 .config();
  EXPECT_EQ(linear.rope_scaling.kind, RopeKind::kLinear);
  EXPECT_EQ(linear.rope_scaling.factor, 4);
  const ModelConfig yarn = Gguf("qwen2")
                               .with("rope.scaling.type", std::string("yarn"))
                               .with("rope.scaling.factor", 4.0)
                               .with("rope.scaling.original_context_length", 32768.0)
                               .config();
  EXPECT_EQ(yarn.rope_scaling.kind, RopeKind::kYarn);
  EXPECT_EQ(yarn.rope_scaling.original_context, 32768);
  const ModelConfig phi = Gguf("phi3")
                              .with("rope.dimension_count", 12.0)
                              .with("rope.scaling.original_context_length", 4096.0)
                              .with("rope.scaling.attn_factor", 1.19)
                              .with_list("rope_factors_short.weight", {1, 1, 2, 2, 3, 3})
                              .with_list("rope_factors_long.weight", {1, 2, 3, 4, 5, 6})
                              .config();
  EXPECT_EQ(phi.rotary(), 12);
  EXPECT_EQ(phi.context, 4096);
  EXPECT_EQ(phi.rope_scaling.attention_factor, 1.19);
  EXPECT_TRUE(phi.fused_weights);
  EXPECT_THROW(Gguf("llama").with("rope.scaling.type", std::string("spiral")).config(), InputError);
}

TEST(ConfigGguf, ArchitecturesHaveTheirSwitches) {
  const ModelConfig gemma3 =
      Gguf("gemma3").with("attention.key_length", 16.0).with("attention.sliding_window", 512.0).config();
  EXPECT_EQ(gemma3.architecture, "Gemma3ForCausalLM");
  EXPECT_TRUE(gemma3.gelu && gemma3.qk_norm && gemma3.norms_before && gemma3.norms_after);
  EXPECT_EQ(gemma3.attention_cap, 0);
  EXPECT_EQ(gemma3.window_of(4), 512);
  EXPECT_EQ(gemma3.window_of(5), 0);
  EXPECT_EQ(gemma3.window_rope_base, 10000);
  EXPECT_DOUBLE_EQ(gemma3.norm_epsilon, 1e-6);
  const ModelConfig gemma2 = Gguf("gemma2")
                                 .with("attention.sliding_window", 64.0)
                                 .with("attn_logit_softcapping", 50.0)
                                 .with("final_logit_softcapping", 30.0)
                                 .config();
  EXPECT_EQ(gemma2.attention_cap, 50);
  EXPECT_EQ(gemma2.logit_cap, 30);
  EXPECT_EQ(gemma2.window_of(0), 64);
  EXPECT_EQ(gemma2.window_of(1), 0);
  const ModelConfig smollm3 = Gguf("smollm3").config();
  EXPECT_TRUE(smollm3.rotates(2) && !smollm3.rotates(3) && smollm3.rotates(4));
  const ModelConfig granite = Gguf("granite")
                                  .with("embedding_scale", 12.0)
                                  .with("residual_scale", static_cast<double>(0.22f))
                                  .with("attention.scale", 0.015625)
                                  .with("logit_scale", 8.0)
                                  .config();
  EXPECT_EQ(granite.embedding_scale, 12);
  EXPECT_DOUBLE_EQ(granite.residual_scale, 0.22);
  EXPECT_EQ(granite.logit_divisor, 8);
  const ModelConfig olmo2 = Gguf("olmo2").config();
  EXPECT_TRUE(!olmo2.norms_before && olmo2.norms_after && olmo2.qk_norm_is_whole);
  EXPECT_EQ(Gguf("llama").with("attention.sliding_window", 4096.0).config().architecture,
            "MistralForCausalLM");
}

}  // namespace
}  // namespace cai
