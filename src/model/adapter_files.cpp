// PEFT's files of an adapter: adapter_config.json and adapter_model.safetensors.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/regex.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/io/safetensors.hpp"
#include "cai/model/adapter.hpp"
#include "cai/model/dequantise.hpp"
#include "cai/model/llama.hpp"
#include "cai/model/reward_model.hpp"

namespace cai {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kWeights = "adapter_model.safetensors";
constexpr const char* kPrefix = "base_model.model.";
constexpr const char* kScore = "base_model.model.score.weight";

// adapter_config.json of a folder, with complaints that name file and field.
class AdapterConfig {
 public:
  explicit AdapterConfig(const fs::path& folder) : file_(folder / kConfig) {
    if (!fs::exists(file_)) throw InputError(folder.string(), 0, "not an adapter: no adapter_config.json");
    json_ = parse_json(read_file(file_), file_.string());
    if (!json_.is_object()) throw InputError(file_.string(), 0, "expected an object");
    check();
  }

  std::string text(const char* name) const {
    const Json* value = find(name);
    if (value && !value->is_string()) refuse(name, "a text or null");
    return value ? value->get<std::string>() : "";
  }

  // What the additions of a module of this name and rank are multiplied with.
  double scale(const std::string& module, std::int64_t rank) const {
    double alpha = number("lora_alpha");
    if (const Json* patterns = find("alpha_pattern"); patterns && patterns->is_object())
      for (const auto& [pattern, value] : patterns->items())
        if (value.is_number() && fits(pattern, module)) {
          alpha = value.get<double>();
          break;
        }
    const double size = static_cast<double>(rank);
    return alpha / (is_set("use_rslora") ? std::sqrt(size) : size);
  }

 private:
  const Json* find(const char* name) const {
    const auto at = json_.find(name);
    return at == json_.end() || at->is_null() ? nullptr : &*at;
  }
  bool is_set(const char* name) const {
    const Json* value = find(name);
    return value && !(value->is_boolean() && !value->get<bool>()) &&
           !(value->is_structured() && value->empty());
  }
  double number(const char* name) const {
    const Json* value = find(name);
    if (!value || !value->is_number()) refuse(name, "a number");
    return value->get<double>();
  }
  [[noreturn]] void refuse(const std::string& name, const std::string& accepted) const {
    const auto at = json_.find(name);
    throw InputError(file_.string(), 0,
                     name + ": found " +
                         (at == json_.end() ? "nothing" : printable(at->dump().substr(0, 80))) +
                         "; accepted: " + accepted);
  }

  // PEFT's rule: the pattern is the end of the name, from a dot on, or fits from its start where it says so.
  static bool fits(const std::string& pattern, const std::string& module) {
    return Regex(pattern.starts_with("^") ? pattern : "^(.*\\.)?(" + pattern + ")$").matches(module);
  }

  void check() const {
    if (text("peft_type") != "LORA") refuse("peft_type", "\"LORA\"");
    const std::string task = text("task_type"), bias = text("bias");
    if (!task.empty() && task != "CAUSAL_LM" && task != "SEQ_CLS")
      refuse("task_type", "\"CAUSAL_LM\", \"SEQ_CLS\" or null");
    if (!bias.empty() && bias != "none") refuse("bias", "\"none\"");
    for (const char* name : {"use_dora", "fan_in_fan_out", "lora_bias", "use_qalora", "layer_replication",
                             "alora_invocation_tokens", "trainable_token_indices", "target_parameters"})
      if (is_set(name)) refuse(name, "false or null; merge such an adapter with PEFT's merge_and_unload");
    number("lora_alpha");
  }

  fs::path file_;
  Json json_;
};

std::string sizes_of(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape)
    text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

// The tensors of adapter_model.safetensors that nobody has taken yet, by name.
class AdapterTensors {
 public:
  explicit AdapterTensors(const fs::path& folder) : file_(folder / kWeights) {
    if (!fs::exists(file_) && fs::exists(folder / "adapter_model.bin"))
      throw InputError(folder.string(), 0,
                       "the weights are in adapter_model.bin, which is not read because such a file can run "
                       "code; save the adapter as safetensors (PEFT's save_pretrained does)");
    if (!fs::exists(file_))
      throw InputError(folder.string(), 0, "not an adapter: no " + std::string(kWeights));
    read_ = read_safetensors(file_);
    for (const SafeTensor& tensor : read_.tensors)
      left_.emplace(tensor.name, &tensor);
  }

  bool has(const std::string& name) const { return left_.contains(name); }

  // In float32. `rows`, `columns`: what it must have; 0: any number.
  at::Tensor take(const std::string& name, std::int64_t rows, std::int64_t columns) {
    const auto found = left_.find(name);
    if (found == left_.end()) throw InputError(file_.string() + ": no tensor " + in_quotes(name));
    const SafeTensor& tensor = *found->second;
    left_.erase(found);
    const std::vector<std::int64_t>& shape = tensor.shape;
    if (shape.size() != 2 || shape[0] == 0 || shape[1] == 0 || (rows > 0 && shape[0] != rows) ||
        (columns > 0 && shape[1] != columns))
      throw InputError(file_.string() + ": tensor " + in_quotes(name) + " is " + sizes_of(shape) +
                       "; expected " + (rows > 0 ? std::to_string(rows) : "rank") + " x " +
                       (columns > 0 ? std::to_string(columns) : "rank") + " for this base model");
    const at::Tensor values = at::empty(shape, at::kFloat);
    dequantise(type_of(tensor), tensor.bytes, values.numel(), values.data_ptr<float>());
    if (!at::isfinite(values).all().item<bool>())
      throw InputError(file_.string() + ": tensor " + in_quotes(name) + " holds values that are not finite");
    return values;
  }

  void nothing_left() const {
    if (left_.empty()) return;
    const std::string& name = left_.begin()->first;
    throw InputError(file_.string() + ": tensor " + in_quotes(name) +
                     (name.find(".lora_") == name.npos
                          ? " is a whole weight that was trained (modules_to_save), which is not read; merge "
                            "the adapter with PEFT's merge_and_unload"
                          : " is of no matrix of this base model"));
  }

 private:
  GgufType type_of(const SafeTensor& tensor) const {
    if (tensor.dtype == "F32") return GgufType::kF32;
    if (tensor.dtype == "F16") return GgufType::kF16;
    if (tensor.dtype == "BF16") return GgufType::kBF16;
    throw InputError(file_.string() + ": tensor " + in_quotes(tensor.name) + " has dtype " +
                     in_quotes(tensor.dtype) + "; accepted: F32, F16, BF16");
  }

  fs::path file_;
  SafeTensorsFile read_;
  std::map<std::string, const SafeTensor*> left_;
};

}  // namespace

AdapterBase read_adapter_base(const fs::path& folder) {
  const AdapterConfig config(folder);
  return {config.text("base_model_name_or_path"), config.text("task_type") == "SEQ_CLS"};
}

at::Tensor load_adapter(Llama& model, const fs::path& folder) {
  const AdapterConfig config(folder);
  AdapterTensors tensors(folder);
  const std::vector<AdaptedModule> modules = adapted_modules(model.config);
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    auto adapter = std::make_shared<LayerAdapter>();
    bool has_any = false;
    for (const AdaptedModule& module : modules) {
      const std::string name = "model.layers." + std::to_string(i) + "." + module.name;
      if (!tensors.has(kPrefix + name + ".lora_A.weight")) continue;
      const at::Tensor a = tensors.take(kPrefix + name + ".lora_A.weight", 0, module.in),
                       b = tensors.take(kPrefix + name + ".lora_B.weight", module.rows(), a.size(0));
      std::int64_t from = 0;
      for (const AdaptedModule::Part& part : module.parts) {
        (*adapter).*part.low_rank = {a, b.narrow(0, from, part.rows).clone(), config.scale(name, a.size(0))};
        from += part.rows;
      }
      has_any = true;
    }
    model.layers[i].adapter = has_any ? adapter : nullptr;
  }
  at::Tensor score;
  if (tensors.has(kScore)) score = tensors.take(kScore, 1, model.config.width);
  tensors.nothing_left();
  return score;
}

std::vector<std::shared_ptr<const LayerAdapter>> read_text_adapter(const fs::path& folder,
                                                                   const ModelConfig& config) {
  Llama shape;
  shape.config = config;
  shape.layers.resize(static_cast<std::size_t>(config.layers));
  if (load_adapter(shape, folder).defined())
    throw InputError(folder.string(), 0, "the adapter of a reward model; expected one of a text model");
  std::vector<std::shared_ptr<const LayerAdapter>> adapters;
  for (const LlamaLayer& layer : shape.layers)
    adapters.push_back(layer.adapter);
  return adapters;
}

namespace {

// A matrix with an adapter, as files have it.
struct SavedModule {
  std::size_t layer;
  std::string name;  // in a layer
  at::Tensor a, b;
  double alpha;

  std::string full_name() const { return "model.layers." + std::to_string(layer) + "." + name; }
};

std::vector<SavedModule> saved_modules(const Llama& model) {
  std::vector<SavedModule> all;
  const std::vector<AdaptedModule> modules = adapted_modules(model.config);
  for (std::size_t i = 0; i < model.layers.size(); ++i)
    for (const AdaptedModule& module : modules) {
      if (!model.layers[i].adapter) continue;
      const LayerAdapter& adapter = *model.layers[i].adapter;
      const LowRank& first = adapter.*module.parts.front().low_rank;
      if (!first.a.defined()) continue;
      std::vector<at::Tensor> b;
      for (const AdaptedModule::Part& part : module.parts) {
        const LowRank& one = adapter.*part.low_rank;
        if (!one.a.defined() || !at::equal(one.a, first.a) || one.scale != first.scale)
          throw Bug("an adapter's " + module.name + " has parts that do not share A");
        b.push_back(one.b.detach());
      }
      all.push_back(
          {i, module.name, first.a.detach(), at::cat(b), first.scale * static_cast<double>(first.a.size(0))});
    }
  return all;
}

// A whole number as PEFT writes it.
Json plain_number(double value) {
  return value == std::floor(value) ? Json(static_cast<long>(value)) : Json(value);
}

// What all matrices have in common, and what is another in some.
Json settings_of(const std::vector<SavedModule>& modules, std::size_t layers) {
  std::map<std::size_t, std::set<std::string>> names_of;  // by layer
  for (const SavedModule& module : modules)
    names_of[module.layer].insert(module.name.substr(module.name.rfind('.') + 1));
  const std::set<std::string> names = names_of.empty() ? std::set<std::string>() : names_of.begin()->second;
  const bool alike =
      std::all_of(names_of.begin(), names_of.end(), [&](const auto& entry) { return entry.second == names; });
  Json targets = Json::array(), at_layers, ranks = Json::object(), alphas = Json::object();
  for (const SavedModule& module : modules) {
    if (!alike) targets.push_back(module.full_name());
    if (module.a.size(0) != modules.front().a.size(0)) ranks[module.full_name()] = module.a.size(0);
    if (module.alpha != modules.front().alpha) alphas[module.full_name()] = plain_number(module.alpha);
  }
  if (alike) targets = names;
  if (alike && names_of.size() < layers) {
    at_layers = Json::array();
    for (const auto& [layer, unused] : names_of)
      at_layers.push_back(layer);
  }
  return {{"r", modules.empty() ? 1 : modules.front().a.size(0)},
          {"lora_alpha", plain_number(modules.empty() ? 1 : modules.front().alpha)},
          {"rank_pattern", ranks},
          {"alpha_pattern", alphas},
          {"target_modules", targets},
          {"layers_to_transform", at_layers},
          {"layers_pattern", at_layers.is_null() ? Json() : Json("layers")}};
}

}  // namespace

namespace {

SavedAdapter save_trained(const Llama& model, const at::Tensor& score, const std::string& base,
                          const fs::path& folder) {
  remove_path(folder);  // what another try left
  const auto weights = adapter_weights(model);
  if (weights.empty()) return {};
  SavedAdapter saved{weights.front().second.size(0), 0, save_adapter(model, score, base, folder)};
  for (const auto& [name, w] : weights)
    saved.weights += w.numel();
  return saved;
}

}  // namespace

std::string save_adapter(const Llama& model, const at::Tensor& score, const std::string& base,
                         const fs::path& folder) {
  create_folders(folder);
  const std::vector<SavedModule> modules = saved_modules(model);
  std::vector<std::pair<std::string, at::Tensor>> weights;
  for (const SavedModule& module : modules) {
    weights.emplace_back(kPrefix + module.full_name() + ".lora_A.weight", module.a.contiguous());
    weights.emplace_back(kPrefix + module.full_name() + ".lora_B.weight", module.b.contiguous());
  }
  if (score.defined()) weights.emplace_back(kScore, score.detach().contiguous());
  std::vector<SafeTensor> tensors;
  for (const auto& [name, t] : weights)
    tensors.push_back({name,
                       "F32",
                       t.sizes().vec(),
                       {static_cast<const std::byte*>(t.data_ptr()), static_cast<std::size_t>(t.nbytes())}});
  const std::string hash = write_safetensors(folder / kWeights, tensors, {{"format", "pt"}});
  Json config = {{"peft_type", "LORA"},
                 {"task_type", score.defined() ? "SEQ_CLS" : "CAUSAL_LM"},
                 {"base_model_name_or_path", base},
                 {"bias", "none"},
                 {"fan_in_fan_out", false},
                 {"inference_mode", true},
                 {"init_lora_weights", true},
                 {"lora_dropout", 0.0},
                 {"modules_to_save", score.defined() ? Json::array({"score"}) : Json()},
                 {"use_dora", false},
                 {"use_rslora", false}};
  config.update(settings_of(modules, model.layers.size()));
  write_file(folder / kConfig, config.dump(2) + "\n");
  return hash;
}

SavedAdapter save_trained_adapter(const Llama& model, const std::string& base, const fs::path& folder) {
  return save_trained(model, {}, base, folder);
}

SavedAdapter save_trained_adapter(const RewardModel& model, const std::string& base, const fs::path& folder) {
  return save_trained(model.trunk, model.score, base, folder);
}

std::string save_together(const std::vector<fs::path>& adapters, const ModelConfig& config,
                          const std::string& base, const fs::path& folder) {
  Llama model;
  model.config = config;
  model.layers.resize(static_cast<std::size_t>(config.layers));
  for (const fs::path& adapter : adapters) {
    const auto more = read_text_adapter(adapter, config);
    for (std::size_t i = 0; i < model.layers.size(); ++i)
      model.layers[i].adapter = together(model.layers[i].adapter, more[i]);
  }
  return save_adapter(model, {}, base, folder);
}

}  // namespace cai
