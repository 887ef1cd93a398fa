// LoRA adapters (Hu et al. 2021) of a model whose own weights are frozen, and PEFT's files of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cai/model/layer.hpp"
#include "cai/model/low_rank.hpp"

namespace cai {

struct Llama;
struct LoraConfig;
struct ModelConfig;
struct RewardModel;

/// A matrix as files have it, and those of a layer that lie in it one below the other: one of them, but for
/// models with fused_weights.
struct AdaptedModule {
  struct Part {
    at::Tensor LlamaLayer::*weight;
    LowRank LayerAdapter::*low_rank;
    std::int64_t rows;
  };
  std::string name;  // in a layer, "self_attn.q_proj"
  std::int64_t in;
  std::vector<Part> parts;  // with the same A, rows of one B

  std::int64_t rows() const;
};

/// The matrices of a layer that an adapter may have.
std::vector<AdaptedModule> adapted_modules(const ModelConfig& config);

/// Those that these settings give one.
std::vector<AdaptedModule> adapted_modules(const ModelConfig& model, const LoraConfig& config);

/// First layer with an adapter: layers - config.layers, 0 when that is 0 or more than there are.
std::int64_t first_adapted_layer(const ModelConfig& model, const LoraConfig& config);

/// Gives the layers from the first adapted one on an adapter each, in place of what they have: A uniform
/// within 1 / sqrt(in), as PEFT has it, B zero, so that the model says what it said. `config.rank` is above
/// 0.
void add_adapter(Llama& model, const LoraConfig& config, std::uint64_t seed);

/// Whether the model has an adapter where add_adapter would put one, of the same rank and scale, and no
/// other.
bool has_adapter(const Llama& model, const LoraConfig& config);

/// Copies the model's adapters: whoever else holds them keeps theirs.
void own_adapter(Llama& model);

/// The matrices of all adapters by their names in PEFT's files, without "base_model.model.": of modules with
/// several parts one A under the module's name, and a B of each part under its own matrix's.
std::vector<std::pair<std::string, at::Tensor>> adapter_weights(const Llama& model);

/// W + scale B A in place of W wherever there is an adapter, which is gone then; all else is shared. Float32,
/// in another order of sums than where the model is run with its adapter.
LlamaLayer merged(const LlamaLayer& layer);
Llama merged(const Llama& model);

/// One adapter of a layer that adds what both add; either may be nullptr.
std::shared_ptr<const LayerAdapter> together(const std::shared_ptr<const LayerAdapter>& first,
                                             const std::shared_ptr<const LayerAdapter>& second);

/// What a PEFT folder says of its base model.
struct AdapterBase {
  std::string model;       // base_model_name_or_path; may be empty
  bool has_score = false;  // of a reward model (task_type SEQ_CLS)
};

/// Of adapter_config.json. Throws InputError with file and field where it asks for what is not read: another
/// method than LoRA, DoRA, biases that learned, modules that were trained as a whole other than a score.
AdapterBase read_adapter_base(const std::filesystem::path& folder);

/// Gives `model` the adapter of a PEFT folder (adapter_config.json, adapter_model.safetensors), in place of
/// what it has. Returns score.weight [1, width] float32, undefined where there is none. Throws InputError
/// with file and tensor where one does not fit the model or is not known.
at::Tensor load_adapter(Llama& model, const std::filesystem::path& folder);

/// The reward model of a checkpoint with an adapter beside it (../adapter) that was trained on `trunk`, whose
/// weights it shares; nullptr where it was trained on others.
std::shared_ptr<RewardModel> reward_model_on(const Llama& trunk, const std::filesystem::path& checkpoint);

/// Writes such a folder of the model's adapters, which PEFT, vLLM and llama.cpp's converter read. `base`:
/// what adapter_config.json names as the base model. `score`: of a reward model, or undefined. Returns the
/// SHA-256 of adapter_model.safetensors.
std::string save_adapter(const Llama& model, const at::Tensor& score, const std::string& base,
                         const std::filesystem::path& folder);

/// What was saved of an adapter that was trained; rank 0: there was none.
struct SavedAdapter {
  std::int64_t rank = 0, weights = 0;
  std::string sha256;  // of adapter_model.safetensors
};

/// The same as save_adapter for models that may have none; a folder that was there before is gone.
SavedAdapter save_trained_adapter(const Llama& model, const std::string& base,
                                  const std::filesystem::path& folder);
SavedAdapter save_trained_adapter(const RewardModel& model, const std::string& base,
                                  const std::filesystem::path& folder);

/// Of a PEFT folder for a text model of this shape: the adapter of each layer. Throws InputError as
/// load_adapter, and where it is a reward model's.
std::vector<std::shared_ptr<const LayerAdapter>> read_text_adapter(const std::filesystem::path& folder,
                                                                   const ModelConfig& config);

/// Writes one adapter that adds what several do together. Returns the SHA-256 of adapter_model.safetensors.
std::string save_together(const std::vector<std::filesystem::path>& adapters, const ModelConfig& config,
                          const std::string& base, const std::filesystem::path& folder);

}  // namespace cai
