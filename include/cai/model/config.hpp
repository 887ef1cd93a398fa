// The shape of a model of the Llama family and its relatives, read from config.json or GGUF metadata. No
// torch here.
//
// The relatives differ by a few switches that do not depend on each other; each is a field below, and none is
// a class.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cai/io/gguf.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// How a model's rotary frequencies are stretched so that it reads longer texts than it was first trained on
/// (HF: rope_type).
enum class RopeKind { kNone, kLinear, kDynamic, kLlama3, kYarn, kLongrope };

struct RopeScaling {
  RopeKind kind = RopeKind::kNone;
  double factor = 1;
  std::int64_t original_context = 0;  // positions that the model was first trained on; llama3, yarn, longrope
  double low_frequency_factor = 1, high_frequency_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1;                        // yarn
  bool truncates = true;                                       // yarn: its range of pairs is in whole pairs
  double attention_factor = 0;  // yarn, longrope: of cosines and sines; 0: made of the factor
  std::vector<double> short_factors,
      long_factors;  // longrope: divisors of the frequencies, one for each rotary pair
};

struct ModelConfig {
  std::string architecture;  // HF class, "LlamaForCausalLM"; accepted_architectures() lists them
  std::int64_t layers = 0, width = 0, heads = 0, kv_heads = 0, head_width = 0, ffn_width = 0, vocabulary = 0;
  std::int64_t context = 0;       // positions that a text may have
  std::int64_t file_context = 0;  // what files say instead, where that is more than we do; 0: the same

  // Positions
  double rope_base = 10000;
  RopeScaling rope_scaling;
  double window_rope_base =
      0;  // of windowed layers, whose frequencies are not scaled; 0: as in the other layers
  std::int64_t rotary_width = 0;  // leading dimensions of each head that are rotated; 0: all
  std::vector<bool> rotated;      // [layers] which layers rotate; empty: all
  std::int64_t sliding_window =
      0;  // positions that a row of a windowed layer sees, itself included; 0: no layer is windowed
  std::vector<bool> windowed;  // [layers] which layers are, where there is a window; empty: all

  // Weights
  bool tied_head = false, qkv_bias = false, output_bias = false /* o_proj */;
  bool qk_norm = false;                           // norms of queries and keys
  bool qk_norm_is_whole = false;                  // of all heads together, not of each
  bool norms_before = true, norms_after = false;  // of what a half of a layer takes and of what it adds

  // Arithmetic
  double norm_epsilon = 1e-5;
  bool gelu = false;  // GELU (tanh) gates instead of SiLU
  double embedding_scale = 1, residual_scale = 1 /* of what a half of a layer adds */, logit_divisor = 1;
  double attention_scale = 0;               // of products of queries and keys; 0: 1 / sqrt(head_width)
  double attention_cap = 0, logit_cap = 0;  // x becomes cap tanh(x / cap); 0: x stays

  // HF files only
  bool norms_less_one = false;  // hold norms' weights less 1
  bool fused_weights = false;   // hold q, k and v, and gate and up, in one tensor each

  int bos = -1, eos = -1, pad = -1;

  std::int64_t rotary() const { return rotary_width > 0 ? rotary_width : head_width; }
  bool is_windowed(std::int64_t layer) const {
    return sliding_window > 0 && (windowed.empty() || windowed[static_cast<std::size_t>(layer)]);
  }
  std::int64_t window_of(std::int64_t layer) const { return is_windowed(layer) ? sliding_window : 0; }
  bool rotates(std::int64_t layer) const {
    return rotated.empty() || rotated[static_cast<std::size_t>(layer)];
  }
};

/// Throws InputError with the field's name when one is missing, of a wrong type, out of range or asks for
/// what we do not do (an unknown architecture, activation or rope scaling): nothing is silently ignored.
ModelConfig parse_model_config(const Json& config_json, const std::string& file);
ModelConfig parse_model_config(const GgufFile& gguf, const std::string& file);

/// The same of an HF folder, a .gguf file or a folder that holds one.
ModelConfig read_model_config(const std::filesystem::path& model);

/// The HF config.json of this model; `extra` fields are merged in (e.g. num_labels).
Json to_hf_json(const ModelConfig& config, const std::string& torch_dtype,
                const Json& extra = Json::object());

/// Throws InputError where a value is out of range or two of them do not go together.
void check_model_config(const ModelConfig& config, const std::string& file);

/// Whether GGUF files hold q and k of this architecture with the two halves of each head interleaved.
bool has_interleaved_heads(const ModelConfig& config);

/// Whether a GGUF file's tensor holds rotary frequencies, which parse_model_config has read.
bool is_rope_tensor(const std::string& name);

/// "LlamaForCausalLM, MistralForCausalLM, ...".
std::string accepted_architectures();

}  // namespace cai
