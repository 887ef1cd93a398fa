#include "cai/model/adapter.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "cai/base/error.hpp"
#include "cai/base/random.hpp"
#include "cai/config/lora.hpp"
#include "cai/model/layer_tensors.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

struct Matrix {
  at::Tensor LlamaLayer::*weight;
  LowRank LayerAdapter::*low_rank;
};

constexpr Matrix kMatrices[] = {
    {&LlamaLayer::q, &LayerAdapter::q},       {&LlamaLayer::k, &LayerAdapter::k},
    {&LlamaLayer::v, &LayerAdapter::v},       {&LlamaLayer::o, &LayerAdapter::o},
    {&LlamaLayer::gate, &LayerAdapter::gate}, {&LlamaLayer::up, &LayerAdapter::up},
    {&LlamaLayer::down, &LayerAdapter::down}};

// "self_attn.q_proj" of "self_attn.q_proj.weight".
std::string module_of(const char* tensor) {
  const std::string name = tensor;
  return name.substr(0, name.rfind('.'));
}

AdaptedModule::Part part_of(const Matrix& matrix, const LayerTensor& tensor) {
  return {matrix.weight, matrix.low_rank, tensor.shape[0]};
}

bool is_target(const std::string& module, const std::string& targets) {
  return targets == "all" || module.starts_with(targets == "attention" ? "self_attn." : "mlp.");
}

double scale_of(const LoraConfig& config) {
  const double rank = static_cast<double>(config.rank);
  return (config.alpha > 0 ? config.alpha : 2 * rank) / rank;
}

// Uniform within 1 / sqrt(in): PEFT's kaiming_uniform_(a = sqrt(5)).
at::Tensor first_a(std::int64_t rank, std::int64_t in, Random random) {
  const at::Tensor a = at::empty({rank, in}, at::kFloat);
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  for (std::int64_t i = 0; i < a.numel(); ++i)
    a.data_ptr<float>()[i] = static_cast<float>((2 * random.uniform() - 1) * bound);
  return a;
}

// The name in HF files of a part's own matrix.
std::string own_name(const ModelConfig& config, const AdaptedModule::Part& part) {
  for (const LayerTensor& tensor : layer_tensors(config))
    if (tensor.tensor == part.weight) return module_of(tensor.hf);
  throw Bug("a matrix without a name");
}

}  // namespace

std::int64_t AdaptedModule::rows() const {
  std::int64_t sum = 0;
  for (const Part& part : parts)
    sum += part.rows;
  return sum;
}

std::vector<AdaptedModule> adapted_modules(const ModelConfig& config) {
  const std::vector<FusedTensor> fused = fused_tensors(config);
  std::vector<AdaptedModule> modules;
  for (const LayerTensor& tensor : layer_tensors(config)) {
    const auto matrix = std::find_if(std::begin(kMatrices), std::end(kMatrices),
                                     [&](const Matrix& m) { return m.weight == tensor.tensor; });
    if (matrix == std::end(kMatrices)) continue;
    const char* name = tensor.hf;
    for (const FusedTensor& one : fused)
      for (const LayerTensor& part : one.parts)
        if (part.tensor == tensor.tensor) name = one.hf;
    if (modules.empty() || modules.back().name != module_of(name))
      modules.push_back({module_of(name), tensor.shape[1], {}});
    modules.back().parts.push_back(part_of(*matrix, tensor));
  }
  return modules;
}

std::vector<AdaptedModule> adapted_modules(const ModelConfig& model, const LoraConfig& config) {
  std::vector<AdaptedModule> modules = adapted_modules(model);
  std::erase_if(modules, [&](const AdaptedModule& m) { return !is_target(m.name, config.targets); });
  return modules;
}

std::int64_t first_adapted_layer(const ModelConfig& model, const LoraConfig& config) {
  return config.layers <= 0 || config.layers >= model.layers ? 0 : model.layers - config.layers;
}

void add_adapter(Llama& model, const LoraConfig& config, std::uint64_t seed) {
  const std::vector<AdaptedModule> modules = adapted_modules(model.config, config);
  const double scale = scale_of(config);
  const Random random = Random(seed).derive("adapter");
  for (std::int64_t i = 0; i < model.config.layers; ++i) {
    LlamaLayer& layer = model.layers[static_cast<std::size_t>(i)];
    layer.adapter = nullptr;
    if (i < first_adapted_layer(model.config, config)) continue;
    auto adapter = std::make_shared<LayerAdapter>();
    for (const AdaptedModule& module : modules) {
      const at::Tensor a =
          first_a(config.rank, module.in, random.derive(static_cast<std::uint64_t>(i)).derive(module.name));
      for (const AdaptedModule::Part& part : module.parts)
        (*adapter).*part.low_rank = {a, at::zeros({part.rows, config.rank}, at::kFloat), scale};
    }
    layer.adapter = adapter;
  }
}

bool has_adapter(const Llama& model, const LoraConfig& config) {
  const double scale = scale_of(config);
  for (std::int64_t i = 0; i < model.config.layers; ++i) {
    const LayerAdapter none, *const adapter = model.layers[static_cast<std::size_t>(i)].adapter.get();
    for (const AdaptedModule& module : adapted_modules(model.config)) {
      const bool is_wanted =
          i >= first_adapted_layer(model.config, config) && is_target(module.name, config.targets);
      for (const AdaptedModule::Part& part : module.parts) {
        const LowRank& found = (adapter ? *adapter : none).*part.low_rank;
        if (found.a.defined() != is_wanted) return false;
        if (is_wanted && (found.a.size(0) != config.rank || found.scale != scale)) return false;
      }
    }
  }
  return true;
}

void own_adapter(Llama& model) {
  for (LlamaLayer& layer : model.layers) {
    if (!layer.adapter) continue;
    const auto copy = std::make_shared<LayerAdapter>(*layer.adapter);
    std::map<const c10::TensorImpl*, at::Tensor> copies;  // what was shared stays so
    const auto own = [&](at::Tensor& t) {
      if (!t.defined()) return;
      at::Tensor& own = copies[t.unsafeGetTensorImpl()];
      if (!own.defined()) own = t.detach().clone();
      t = own;
    };
    for_each_low_rank(*copy, [&](LowRank& low_rank) { own(low_rank.a), own(low_rank.b); });
    layer.adapter = copy;
  }
}

std::vector<std::pair<std::string, at::Tensor>> adapter_weights(const Llama& model) {
  std::vector<std::pair<std::string, at::Tensor>> weights;
  const std::vector<AdaptedModule> modules = adapted_modules(model.config);
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    if (!model.layers[i].adapter) continue;
    const LayerAdapter& adapter = *model.layers[i].adapter;
    const std::string at = "model.layers." + std::to_string(i) + ".";
    for (const AdaptedModule& module : modules) {
      if (!(adapter.*module.parts.front().low_rank).a.defined()) continue;
      weights.emplace_back(at + module.name + ".lora_A.weight", (adapter.*module.parts.front().low_rank).a);
      for (const AdaptedModule::Part& part : module.parts)
        weights.emplace_back(at + own_name(model.config, part) + ".lora_B.weight",
                             (adapter.*part.low_rank).b);
    }
  }
  return weights;
}

LlamaLayer merged(const LlamaLayer& layer) {
  if (!layer.adapter) return layer;
  const at::NoGradGuard no_gradients;
  LlamaLayer whole = layer;
  whole.adapter = nullptr;
  for (const Matrix& matrix : kMatrices) {
    const LowRank& low_rank = (*layer.adapter).*matrix.low_rank;
    if (!low_rank.a.defined()) continue;
    const at::Tensor weight = (layer.*matrix.weight).detach().to(at::kFloat);
    whole.*matrix.weight = at::addmm(weight, low_rank.b.detach(), low_rank.a.detach(), 1, low_rank.scale);
  }
  return whole;
}

Llama merged(const Llama& model) {
  if (std::none_of(model.layers.begin(), model.layers.end(), [](const auto& l) { return l.adapter; }))
    return model;
  Llama whole = model;
  whole.rounded = std::make_shared<RoundedWeights>();
  for (LlamaLayer& layer : whole.layers)
    layer = merged(layer);
  return whole;
}

std::shared_ptr<const LayerAdapter> together(const std::shared_ptr<const LayerAdapter>& first,
                                             const std::shared_ptr<const LayerAdapter>& second) {
  if (!first || !second) return first ? first : second;
  const at::NoGradGuard no_gradients;
  auto both = std::make_shared<LayerAdapter>();
  for (const Matrix& matrix : kMatrices) {
    const LowRank &x = (*first).*matrix.low_rank, &y = (*second).*matrix.low_rank;
    if (x.a.defined() && y.a.defined())
      (*both).*matrix.low_rank = {at::cat({x.a, y.a}), at::cat({x.b * x.scale, y.b * y.scale}, 1), 1};
    else
      (*both).*matrix.low_rank = x.a.defined() ? x : y;
  }
  return both;
}

}  // namespace cai
