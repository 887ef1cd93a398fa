// Loading and saving weights: HF folders (safetensors, sharded too) and GGUF in, HF folders (and GGUF on
// export) out.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "cai/model/place.hpp"

namespace cai {

struct GgufVocabulary;
struct Llama;
struct LlamaLayer;
struct ModelConfig;
struct RewardModel;

/// A model's weights as float32, each read from its file once, for who need not have all of them at a time.
/// Throws InputError naming file and tensor where one is missing, of another shape or not finite.
class LlamaReader {
 public:
  /// `path`: an HF folder, a .gguf file, or a folder that holds one.
  explicit LlamaReader(const std::filesystem::path& path);
  ~LlamaReader();
  LlamaReader(LlamaReader&&) noexcept;

  const ModelConfig& config() const;
  at::Tensor embedding();
  LlamaLayer layer(std::int64_t i);
  at::Tensor norm();
  at::Tensor head();          ///< not of a model whose head is tied to the embedding
  void nothing_left() const;  ///< Throws InputError naming a tensor that is not one of this architecture.
  Llama all(const Place& place = {});  ///< every weight, at `place`, and nothing left

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// All of a model. Every tensor of the file must be known and of the right shape, every weight present and
/// finite. On a device one layer is in main memory at a time.
std::shared_ptr<Llama> load_llama(const std::filesystem::path& path, const Place& place = {});

/// The model between two: each weight is the mean of both, `b`'s weighing `share`.
/// Throws InputError unless both have the same weights by name and shape.
std::shared_ptr<Llama> between(const Llama& a, const Llama& b, double share, const Place& place = {});

/// Writes config.json and model.safetensors (dtype "float32" or "bfloat16"); the tokenizer's files are the
/// caller's. Durable, deterministic bytes. Returns the SHA-256 of model.safetensors.
std::string save_llama(const Llama& model, const std::filesystem::path& folder,
                       const std::string& dtype = "float32");

/// One GGUF file (F32 norms and biases, `dtype` f32, f16 or bf16 for matrices) that llama.cpp opens; `name`:
/// its general.name. Attention q and k are permuted to llama.cpp's layout. Throws InputError where
/// gguf_problem has one.
void export_gguf(const Llama& model, const GgufVocabulary& vocabulary, const std::string& name,
                 const std::filesystem::path& file, const std::string& dtype);

/// Why a model of this shape cannot be exported to GGUF; "" where it can.
std::string gguf_problem(const ModelConfig& config);

/// SHA-256 that names a model's weights: of the file(s) for a path. Part of a stage's key.
std::string model_fingerprint(const std::filesystem::path& path);

/// A reward checkpoint: trunk as LlamaForSequenceClassification (num_labels 1, score.weight) plus cai_reward
/// {mean, std} in config.json.
std::shared_ptr<RewardModel> load_reward_model(const std::filesystem::path& path, const Place& place = {});
std::string save_reward_model(const RewardModel& model, const std::filesystem::path& folder);

}  // namespace cai
