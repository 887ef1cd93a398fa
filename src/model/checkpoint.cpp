#include "cai/model/checkpoint.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/adapter_folder.hpp"
#include "cai/io/gguf.hpp"
#include "cai/io/hf_folder.hpp"
#include "cai/io/json.hpp"
#include "cai/io/safetensors.hpp"
#include "cai/model/adapter.hpp"
#include "cai/model/dequantise.hpp"
#include "cai/model/layer_tensors.hpp"
#include "cai/model/reward_model.hpp"
#include "cai/model/tensors.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

// Where a weight lies in a file, by its HF name. It becomes float32 when it is taken.
struct Stored {
  GgufType type;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
  std::int64_t interleaved_heads =
      0;  // llama.cpp stores q and k of some architectures with the two halves of each head interleaved
  bool is_less_one = false;  // the weight of a norm, less 1
};

struct Weights {
  std::string file;  // or folder; for messages
  std::map<std::string, Stored> stored;
  std::vector<std::shared_ptr<MappedFile>> maps;

  at::Tensor take(const std::string& name, const std::vector<std::int64_t>& shape) {
    const auto it = stored.find(name);
    if (it == stored.end()) throw InputError(file + ": no tensor " + in_quotes(name));
    const Stored from = std::move(it->second);
    stored.erase(it);
    if (from.shape != shape) {
      std::string found, expected;
      for (auto d : from.shape)
        found += (found.empty() ? "" : " x ") + std::to_string(d);
      for (auto d : shape)
        expected += (expected.empty() ? "" : " x ") + std::to_string(d);
      throw InputError(file + ": tensor " + in_quotes(name) + " is " + found + "; expected " + expected);
    }
    at::Tensor t = at::empty(from.shape, at::kFloat);
    dequantise(from.type, from.bytes, t.numel(), t.data_ptr<float>());
    if (!std::isfinite(t.sum().item<float>()) && !at::isfinite(t).all().item<bool>())
      throw InputError(file + ": tensor " + in_quotes(name) + " holds values that are not finite");
    if (from.interleaved_heads > 0) {
      const auto rows = t.size(0), heads = from.interleaved_heads;
      t = t.view({heads, rows / heads / 2, 2, -1}).transpose(1, 2).reshape(from.shape);
    }
    if (from.is_less_one) t.add_(1);
    return t;
  }

  void nothing_left() const {
    if (!stored.empty())
      throw InputError(file + ": tensor " + in_quotes(stored.begin()->first) +
                       " is not one of this architecture");
  }
};

Stored stored(const SafeTensor& t, const std::string& file) {
  const std::map<std::string, GgufType> same = {
      {"F32", GgufType::kF32}, {"F16", GgufType::kF16}, {"BF16", GgufType::kBF16}};
  const auto type = same.find(t.dtype);
  if (type == same.end())
    throw InputError(file + ": tensor " + in_quotes(t.name) + " has dtype " + in_quotes(t.dtype) +
                     "; accepted: F32, F16, BF16");
  return {type->second, t.shape, t.bytes};
}

// Tensors that hold several of a layer's become those.
void split_fused(Weights& weights, const ModelConfig& c) {
  const std::vector<FusedTensor> all = fused_tensors(c);
  for (std::int64_t i = 0; i < c.layers && !all.empty(); ++i)
    for (const FusedTensor& fused : all) {
      const std::string at = "model.layers." + std::to_string(i) + ".";
      const auto found = weights.stored.find(at + fused.hf);
      if (found == weights.stored.end()) continue;  // take() names what is missing
      const Stored whole = found->second;
      std::int64_t rows = 0, row = 0;
      for (const LayerTensor& part : fused.parts)
        rows += part.shape[0];
      if (whole.shape != std::vector<std::int64_t>{rows, c.width}) continue;
      const std::size_t size = whole.bytes.size() / static_cast<std::size_t>(rows);
      for (const LayerTensor& part : fused.parts) {
        weights.stored[at + part.hf] = {whole.type, part.shape,
                                        whole.bytes.subspan(static_cast<std::size_t>(row) * size,
                                                            static_cast<std::size_t>(part.shape[0]) * size)};
        row += part.shape[0];
      }
      weights.stored.erase(at + fused.hf);
    }
}

Weights hf_weights(const fs::path& folder, const ModelConfig& config) {
  const HfTensors read = read_hf_tensors(folder);
  Weights weights{.file = folder.string(), .stored = {}, .maps = read.maps};
  for (const auto& [file, t] : read.tensors)
    weights.stored.emplace(t.name, stored(t, file));
  split_fused(weights, config);
  for (auto& [name, t] : weights.stored)
    t.is_less_one = config.norms_less_one && is_norm(name);
  return weights;
}

// "" for none.
std::string hf_name(const std::string& gguf, const std::vector<LayerTensor>& layer,
                    const std::vector<FusedTensor>& fused) {
  if (gguf == "token_embd.weight") return "model.embed_tokens.weight";
  if (gguf == "output_norm.weight") return "model.norm.weight";
  if (gguf == "output.weight") return "lm_head.weight";
  const auto dot = gguf.rfind("blk.", 0) == 0 ? gguf.find('.', 4) : gguf.npos;
  if (dot == gguf.npos) return "";
  const std::string name = gguf.substr(dot + 1), at = "model.layers." + gguf.substr(4, dot - 4) + ".";
  for (const FusedTensor& t : fused)
    if (name == t.gguf) return at + t.hf;
  for (const LayerTensor& t : layer)
    if (name == t.gguf) return at + t.hf;
  return "";
}

Weights gguf_weights(const GgufFile& gguf, const ModelConfig& config, const std::string& file) {
  Weights weights{.file = file, .stored = {}, .maps = gguf.maps};
  const bool interleaved = has_interleaved_heads(config);
  const std::vector<LayerTensor> layer = layer_tensors(config);
  const std::vector<FusedTensor> fused = fused_tensors(config);
  for (const GgufTensor& t : gguf.tensors) {
    if (is_rope_tensor(t.name)) continue;  // the config has what they say
    const std::string name = hf_name(t.name, layer, fused);
    if (name.empty())
      throw InputError(file + ": tensor " + in_quotes(t.name) + " is not one of a Llama-family model");
    Stored one{t.type, t.shape, t.bytes};
    const auto is_of = [&](const char* matrix) {
      return t.name.ends_with(std::string(matrix) + ".weight") ||
             t.name.ends_with(std::string(matrix) + ".bias");
    };
    if (interleaved && is_of("attn_q")) one.interleaved_heads = config.heads;
    if (interleaved && is_of("attn_k")) one.interleaved_heads = config.kv_heads;
    weights.stored.emplace(name, std::move(one));
  }
  split_fused(weights, config);
  return weights;
}

LlamaLayer take_layer(Weights& weights, const ModelConfig& c, std::int64_t i) {
  LlamaLayer l;
  for (const LayerTensor& t : layer_tensors(c))
    l.*t.tensor = weights.take("model.layers." + std::to_string(i) + "." + t.hf, t.shape);
  return l;
}

// Whether the head of its own that a file holds in spite of a config that ties it is another one than the
// embedding: transformers then uses both. Most files that hold both repeat the embedding.
bool has_own_head(const Weights& weights, const ModelConfig& c) {
  const auto head = weights.stored.find("lm_head.weight"),
             embedding = weights.stored.find("model.embed_tokens.weight");
  if (!c.tied_head || head == weights.stored.end() || embedding == weights.stored.end()) return false;
  const Stored &a = head->second, &b = embedding->second;
  return a.type != b.type || a.shape != b.shape ||
         std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) != 0;
}

at::Tensor take_embedding(Weights& weights, const ModelConfig& c) {
  if (c.tied_head) weights.stored.erase("lm_head.weight");  // some files repeat the tied embedding
  return weights.take("model.embed_tokens.weight", {c.vocabulary, c.width});
}

// All of the model; what is missing, of another shape, not finite or too much is named.
Llama take_llama(Weights& weights, const ModelConfig& c, const Place& place = {}) {
  const at::Device device = device_of(place);
  Llama m;
  m.config = c;
  m.place = place;
  m.embedding = take_embedding(weights, c).to(device);
  for (std::int64_t i = 0; i < c.layers; ++i) {
    m.layers.push_back(take_layer(weights, c, i));
    if (!place.is_cpu()) move_to(m.layers.back(), place);
  }
  m.norm = weights.take("model.norm.weight", {c.width}).to(device);
  m.head = c.tied_head ? m.embedding : weights.take("lm_head.weight", {c.vocabulary, c.width}).to(device);
  weights.nothing_left();
  return m;
}

Json read_config(const fs::path& folder) {
  const fs::path file = folder / "config.json";
  return parse_json(read_file(file), file.string());
}

std::string gguf_fingerprint(const fs::path& file) {
  const std::vector<fs::path> parts = gguf_parts(file);
  if (parts.size() == 1) return sha256_file(file);
  std::string all;
  for (const fs::path& part : parts)
    all += sha256_file(part);
  return sha256(all);
}

// All weights as HF files of this model have them.
std::vector<std::pair<std::string, at::Tensor>> hf_named_weights(const Llama& model) {
  const std::vector<FusedTensor> all = fused_tensors(model.config);
  std::vector<std::pair<std::string, at::Tensor>> weights;
  for (const auto& [name, t] : model.named_weights()) {
    const std::string of_layer = name.starts_with("model.layers.") ? name.substr(name.find('.', 13) + 1) : "";
    const auto at = name.substr(0, name.size() - of_layer.size());
    std::vector<at::Tensor> parts;
    bool is_part = false;
    for (const FusedTensor& fused : all) {
      for (const LayerTensor& part : fused.parts)
        is_part = is_part || of_layer == part.hf;
      if (of_layer != fused.parts.front().hf) continue;
      const LlamaLayer& layer = model.layers[static_cast<std::size_t>(std::stol(at.substr(13)))];
      for (const LayerTensor& part : fused.parts)
        parts.push_back(layer.*part.tensor);
      weights.emplace_back(at + fused.hf, at::cat(parts).detach());
    }
    if (!is_part)
      weights.emplace_back(name, model.config.norms_less_one && is_norm(name) ? t.detach() - 1 : t);
  }
  return weights;
}

// Whether two layers have the same weights but for rounding.
bool is_near(const LlamaLayer& a, const LlamaLayer& b) {
  std::vector<at::Tensor> others;
  for_each_tensor(b, [&](const at::Tensor& t) { others.push_back(t); });
  bool near = true;
  std::size_t i = 0;
  for_each_tensor(a, [&](const at::Tensor& t) {
    const at::Tensor& other = others[i++];
    near = near && t.defined() == other.defined() &&
           (!t.defined() || (t.sizes() == other.sizes() && at::allclose(t, other, 1e-4, 1e-5)));
  });
  return near;
}

// What config.json says of the rewards' mean and spread.
void read_scale(const Json& json, const fs::path& file, RewardModel& model) {
  const auto scale = json.find("cai_reward");
  if (scale == json.end() || !scale->is_object()) return;
  model.mean = scale->value("mean", 0.0);
  model.std = scale->value("std", 1.0);
  if (!std::isfinite(model.mean) || !(model.std > 0))
    throw InputError(file.string(), 0, "cai_reward needs a finite mean and a positive std");
}

std::string save_weights(const Llama& model, const at::Tensor& score, const fs::path& folder,
                         const std::string& dtype) {
  if (dtype != "float32" && dtype != "bfloat16")
    throw UsageError("dtype " + dtype + "; accepted: float32, bfloat16");
  std::vector<at::Tensor> kept;
  std::vector<SafeTensor> tensors;
  const auto add = [&](const std::string& name, const at::Tensor& t) {
    kept.push_back(t.detach().cpu().to(dtype == "float32" ? at::kFloat : at::kBFloat16).contiguous());
    const at::Tensor& k = kept.back();
    tensors.push_back({name,
                       dtype == "float32" ? "F32" : "BF16",
                       k.sizes().vec(),
                       {static_cast<const std::byte*>(k.data_ptr()), static_cast<std::size_t>(k.nbytes())}});
  };
  const auto weights = hf_named_weights(merged(model));
  kept.reserve(weights.size() + 1);
  for (const auto& [name, t] : weights)
    if (!score.defined() || name != "lm_head.weight") add(name, t);
  if (score.defined()) add("score.weight", score);
  return write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
}

}  // namespace

struct LlamaReader::Impl {
  ModelConfig config;
  Weights weights;
  std::vector<std::shared_ptr<const LayerAdapter>> adapters;  // of the layers; empty: none

  // As the adapter has it.
  LlamaLayer adapted(LlamaLayer layer, std::int64_t i) const {
    if (adapters.empty()) return layer;
    layer.adapter = adapters[static_cast<std::size_t>(i)];
    return merged(layer);
  }
};

LlamaReader::LlamaReader(const fs::path& model) {
  const auto& [path, adapter] = parts_of_model(model);
  if (const fs::path file = gguf_of_model(path); !file.empty()) {
    const GgufFile gguf = read_gguf(file);
    const ModelConfig config = parse_model_config(gguf, file.string());
    impl_ = std::make_unique<Impl>(Impl{config, gguf_weights(gguf, config, file.string())});
  } else {
    impl_ = std::make_unique<Impl>(
        Impl{parse_model_config(read_config(path), (path / "config.json").string()), {}});
    impl_->weights = hf_weights(path, impl_->config);
    if (has_own_head(impl_->weights, impl_->config)) impl_->config.tied_head = false;
  }
  if (!adapter.empty()) impl_->adapters = read_text_adapter(adapter, impl_->config);
}

LlamaReader::~LlamaReader() = default;
LlamaReader::LlamaReader(LlamaReader&&) noexcept = default;

const ModelConfig& LlamaReader::config() const {
  return impl_->config;
}
at::Tensor LlamaReader::embedding() {
  return take_embedding(impl_->weights, impl_->config);
}
LlamaLayer LlamaReader::layer(std::int64_t i) {
  return impl_->adapted(take_layer(impl_->weights, impl_->config, i), i);
}
at::Tensor LlamaReader::norm() {
  return impl_->weights.take("model.norm.weight", {impl_->config.width});
}
at::Tensor LlamaReader::head() {
  return impl_->weights.take("lm_head.weight", {impl_->config.vocabulary, impl_->config.width});
}
void LlamaReader::nothing_left() const {
  impl_->weights.nothing_left();
}
Llama LlamaReader::all(const Place& place) {
  if (impl_->adapters.empty()) return take_llama(impl_->weights, impl_->config, place);
  Llama model = take_llama(impl_->weights, impl_->config, {});
  for (std::size_t i = 0; i < model.layers.size(); ++i)
    model.layers[i] = impl_->adapted(model.layers[i], static_cast<std::int64_t>(i));
  move_to(model, place);
  return model;
}

std::shared_ptr<Llama> load_llama(const fs::path& path, const Place& place) {
  return std::make_shared<Llama>(LlamaReader(path).all(place));
}

std::shared_ptr<Llama> between(const Llama& a, const Llama& b, double share, const Place& place) {
  const auto x = a.named_weights(), y = b.named_weights();
  if (!std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const auto& one, const auto& other) {
        return one.first == other.first && one.second.sizes() == other.second.sizes();
      }))
    throw InputError("two models with weights of other names or shapes have none between them");
  auto model = std::make_shared<Llama>(a.clone());
  move_towards(*model, b, share);
  move_to(*model, place);
  return model;
}

std::string save_llama(const Llama& model, const fs::path& folder, const std::string& dtype) {
  create_folders(folder);
  const std::string hash = save_weights(model, {}, folder, dtype);
  write_file(folder / "config.json", to_hf_json(model.config, dtype).dump(2) + "\n");
  return hash;
}

std::string model_fingerprint(const fs::path& model) {
  const auto& [path, adapter] = parts_of_model(model);
  if (!adapter.empty()) {
    read_text_adapter(adapter, read_model_config(path));  // what does not fit is said before any work
    return sha256(model_fingerprint(path) + sha256_file(adapter / "adapter_config.json") +
                  sha256_file(adapter / "adapter_model.safetensors"));
  }
  if (const fs::path file = gguf_of_model(path); !file.empty()) return gguf_fingerprint(file);
  std::string all = sha256_file(path / "config.json");
  for (const char* name : {"tokenizer.json", "tokenizer.model", "tokenizer_config.json",
                           "chat_template.jinja", "model.safetensors.index.json"})
    if (fs::exists(path / name)) all += name + sha256_file(path / name);
  std::set<fs::path> shards;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.path().extension() == ".safetensors") shards.insert(entry.path());
  for (const fs::path& shard : shards)
    all += sha256_file(shard);
  return sha256(all);
}

std::shared_ptr<RewardModel> load_reward_model(const fs::path& path, const Place& place) {
  const fs::path file = path / "config.json";
  if (!fs::exists(file)) throw InputError(path.string(), 0, "not a reward checkpoint: no config.json");
  const Json json = read_config(path);
  const ModelConfig config = parse_model_config(json, file.string());
  Weights weights = hf_weights(path, config);
  if (!weights.stored.contains("score.weight"))
    throw InputError(path.string(), 0, "not a reward checkpoint: no tensor \"score.weight\"");
  auto model = std::make_shared<RewardModel>();
  model->score = weights.take("score.weight", {1, config.width}).to(device_of(place));
  // The trunk has no head of its own; the tied embedding stands in, and nothing reads it.
  ModelConfig trunk = config;
  trunk.tied_head = true;
  model->trunk = take_llama(weights, trunk, place);
  model->trunk.config.tied_head = config.tied_head;
  read_scale(json, file, *model);
  return model;
}

std::shared_ptr<RewardModel> reward_model_on(const Llama& trunk, const fs::path& path) {
  const fs::path file = path / "config.json", adapter = path.parent_path() / "adapter";
  const Json json = read_config(path);
  auto model = std::make_shared<RewardModel>();
  model->trunk = trunk;
  const std::int64_t layers = parse_model_config(json, file.string()).layers;
  if (layers < trunk.config.layers) {
    model->trunk.config.layers = layers;
    model->trunk.layers.resize(static_cast<std::size_t>(layers));
  }
  model->score = load_adapter(model->trunk, adapter);
  if (!model->score.defined())
    throw InputError(adapter.string(), 0, "not a reward model's adapter: no tensor \"score.weight\"");
  LlamaReader merged_weights(path);
  for (const std::int64_t i : std::set<std::int64_t>{0, layers - 1})
    if (!is_near(merged(model->trunk.layers[static_cast<std::size_t>(i)]), merged_weights.layer(i)))
      return nullptr;
  read_scale(json, file, *model);
  return model;
}

std::string save_reward_model(const RewardModel& model, const fs::path& folder) {
  create_folders(folder);
  const std::string hash = save_weights(model.trunk, model.score, folder, "float32");
  Json json = to_hf_json(model.trunk.config, "float32",
                         {{"num_labels", 1}, {"cai_reward", {{"mean", model.mean}, {"std", model.std}}}});
  std::string& name = json["architectures"][0].get_ref<std::string&>();
  name = name.substr(0, name.find("For")) + "ForSequenceClassification";
  write_file(folder / "config.json", json.dump(2) + "\n");
  return hash;
}

}  // namespace cai
