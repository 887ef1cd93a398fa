#include "cai/io/hf_folder.hpp"

#include <algorithm>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/gguf.hpp"
#include "cai/io/json.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

bool has_file(const fs::path& folder, std::string_view start, std::string_view end) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(start) && name.ends_with(end)) return true;
  }
  return false;
}

// Quantised checkpoints of the HF kind say so in config.json.
void check_quantisation(const fs::path& folder) {
  const fs::path file = folder / "config.json";
  if (!fs::exists(file)) return;
  const Json json = parse_json(read_file(file), file.string());
  if (!json.is_object() || !json.contains("quantization_config") || !json["quantization_config"].is_object())
    return;
  const Json& quantisation = json["quantization_config"];
  const auto method = quantisation.find("quant_method");
  const std::string name =
      method != quantisation.end() && method->is_string() ? method->get<std::string>() : "no quant_method";
  throw InputError(file.string(), 0,
                   "quantization_config (" + printable(name) +
                       "): quantised safetensors are not read; give the original model (F32, F16 or BF16) or "
                       "a GGUF file of it");
}

[[noreturn]] void no_weights(const fs::path& folder) {
  if (has_file(folder, "pytorch_model", ".bin"))
    throw InputError(
        folder.string(), 0,
        "the weights are in pytorch_model*.bin, which is not read because such a file can run code; make "
        "safetensors of it:"
        " python -c \"import sys, transformers as t; t.AutoModelForCausalLM.from_pretrained(sys.argv[1],"
        " torch_dtype='auto').save_pretrained(sys.argv[1])\" " +
            folder.string());
  if (has_file(folder, "model-", ".safetensors"))
    throw InputError(
        folder.string(), 0,
        std::string(kIndex) + " is missing; it says which of the model-*.safetensors files holds what");
  throw InputError(folder.string(), 0, "neither model.safetensors nor model.safetensors.index.json here");
}

std::set<std::string> shards_of_index(const fs::path& index) {
  const Json json = parse_json(read_file(index), index.string());
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object()) throw InputError(index.string(), 1, "no \"weight_map\" object");
  std::set<std::string> shards;
  for (const auto& [name, file] : map->items()) {
    const std::string shard = file.is_string() ? file.get<std::string>() : "";
    if (shard.empty() || shard.find('/') != shard.npos)
      throw InputError(index.string(), 1,
                       "the shard of " + in_quotes(name) + " is not a file name in this folder");
    shards.insert(shard);
  }
  return shards;
}

void check_all_there(const fs::path& folder, const std::set<std::string>& shards) {
  std::vector<std::string> missing;
  for (const std::string& shard : shards)
    if (!fs::exists(folder / shard)) missing.push_back(shard);
  if (missing.empty()) return;
  std::string names;
  for (std::size_t i = 0; i < std::min<std::size_t>(missing.size(), 5); ++i)
    names += (names.empty() ? "" : ", ") + printable(missing[i]);
  if (missing.size() > 5) names += ", ...";
  throw InputError((folder / kIndex).string(), 0,
                   std::to_string(missing.size()) + " of the " + std::to_string(shards.size()) +
                       " files that it names " + (missing.size() == 1 ? "is" : "are") +
                       " missing here: " + names);
}

// What was put before the names when a wrapped model was saved.
std::string without_wrappers(std::string name) {
  for (bool more = true; more;) {
    more = false;
    for (const std::string_view prefix : {"_orig_mod.", "module."})
      if (name.starts_with(prefix)) name.erase(0, prefix.size()), more = true;
  }
  // torch.compile of a part of the model puts it inside.
  for (auto at = name.find("._orig_mod."); at != name.npos; at = name.find("._orig_mod."))
    name.erase(at, 10);
  return name;
}

}  // namespace

fs::path gguf_of_model(const fs::path& model) {
  if (!fs::exists(model)) throw InputError(model.string(), 0, "no such model file or folder");
  if (!fs::is_directory(model)) return model;
  const bool has_config = fs::exists(model / "config.json");
  if (has_config && (has_file(model, "model", ".safetensors") || has_file(model, kIndex, ""))) return {};
  if (has_file(model, "", ".gguf")) return gguf_in_folder(model);
  if (!has_config) throw InputError(model.string(), 0, "neither config.json nor a .gguf file here");
  return {};
}

std::vector<fs::path> hf_shards(const fs::path& folder) {
  check_quantisation(folder);
  if (fs::exists(folder / kWeights)) return {folder / kWeights};
  if (!fs::exists(folder / kIndex)) no_weights(folder);
  const std::set<std::string> shards = shards_of_index(folder / kIndex);
  check_all_there(folder, shards);
  std::vector<fs::path> files;
  for (const std::string& shard : shards)
    files.push_back(folder / shard);
  return files;
}

HfTensors read_hf_tensors(const fs::path& folder) {
  HfTensors all;
  std::set<std::string> names;
  for (const fs::path& path : hf_shards(folder)) {
    SafeTensorsFile file = read_safetensors(path);
    all.maps.push_back(file.map);
    for (SafeTensor& t : file.tensors) {
      t.name = without_wrappers(t.name);
      if (t.name.ends_with("rotary_emb.inv_freq")) continue;
      if (!names.insert(t.name).second)
        throw InputError(path.string() + ": duplicate tensor " + in_quotes(t.name));
      all.tensors.emplace_back(path.string(), std::move(t));
    }
  }
  if (names.contains("embed_tokens.weight"))  // saved without the head
    for (auto& [file, t] : all.tensors)
      if (t.name != "lm_head.weight" && t.name != "score.weight") t.name = "model." + t.name;
  return all;
}

}  // namespace cai
