// The shape of a Llama-family model, read from config.json or GGUF metadata. No torch here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "cai/io/gguf.hpp"
#include "cai/io/json.hpp"

namespace cai {

struct RopeScaling {              // "llama3" scaling; factor 1: none
  double factor = 1, low_frequency_factor = 1, high_frequency_factor = 4;
  std::int64_t original_context = 8192;
};

struct ModelConfig {
  std::string architecture;       // HF class: LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM
  std::int64_t layers = 0, width = 0, heads = 0, kv_heads = 0, head_width = 0, ffn_width = 0, vocabulary = 0, context = 0;
  double rope_base = 10000, norm_epsilon = 1e-5;
  RopeScaling rope_scaling;
  std::int64_t sliding_window = 0;  // 0: full attention
  bool tied_head = false, qkv_bias = false, output_bias = false /* o_proj */, qk_norm = false;
  int bos = -1, eos = -1;
};

/// Throws InputError with the field's name when one is missing, of a wrong type, out of range or asks for what we do not do
/// (an unknown architecture, another activation than silu, another rope scaling): nothing is silently ignored.
ModelConfig parse_model_config(const Json& config_json, const std::string& file);
ModelConfig parse_model_config(const GgufFile& gguf, const std::string& file);

/// The same of an HF folder, a .gguf file or a folder that holds one.
ModelConfig read_model_config(const std::filesystem::path& model);

/// The HF config.json of this model; `extra` fields are merged in (e.g. num_labels).
Json to_hf_json(const ModelConfig& config, const std::string& torch_dtype, const Json& extra = Json::object());

}  // namespace cai
