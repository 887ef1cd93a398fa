#include <ATen/ATen.h>

#include <cstring>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/gguf.hpp"
#include "cai/io/json.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/layer_tensors.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

// GGUF v3, little-endian: counts, metadata, the table of tensors, then the tensors at multiples of 32 bytes.
class GgufWriter {
 public:
  void text(const std::string& key, const std::string& value) { entry(key, 8), string(value); }
  void number(const std::string& key, std::uint32_t value) { entry(key, 4), put(value); }
  void real(const std::string& key, float value) { entry(key, 6), put(value); }
  void flag(const std::string& key, bool value) { entry(key, 7), put(static_cast<std::uint8_t>(value)); }
  void texts(const std::string& key, const std::vector<std::string>& values) {
    entry(key, 9), put(std::uint32_t{8}), put(static_cast<std::uint64_t>(values.size()));
    for (const std::string& v : values) string(v);
  }
  void integers(const std::string& key, const std::vector<std::int32_t>& values) {
    entry(key, 9), put(std::uint32_t{5}), put(static_cast<std::uint64_t>(values.size()));
    for (std::int32_t v : values) put(v);
  }
  void tensor(const std::string& name, at::Tensor t, GgufType type) {
    const auto kind = type == GgufType::kF16 ? at::kHalf : type == GgufType::kBF16 ? at::kBFloat16 : at::kFloat;
    tensors_.push_back({name, t.detach().to(kind).contiguous(), type});
  }

  void write(const fs::path& path) const {
    std::string head = "GGUF";
    const auto put_head = [&](auto v) { head.append(reinterpret_cast<const char*>(&v), sizeof v); };
    put_head(std::uint32_t{3}), put_head(static_cast<std::uint64_t>(tensors_.size())), put_head(static_cast<std::uint64_t>(entries_));
    head += metadata_;
    std::uint64_t offset = 0;
    for (const auto& [name, t, type] : tensors_) {
      put_head(static_cast<std::uint64_t>(name.size()));
      head += name;
      put_head(static_cast<std::uint32_t>(t.dim()));
      for (std::int64_t d = t.dim(); d-- > 0;) put_head(static_cast<std::uint64_t>(t.size(d)));
      put_head(static_cast<std::uint32_t>(type));
      put_head(offset);
      offset += (static_cast<std::uint64_t>(t.nbytes()) + 31) / 32 * 32;
    }
    head.resize((head.size() + 31) / 32 * 32, '\0');
    const fs::path temporary = path.string() + ".tmp";
    {
      AppendFile file(temporary, 0);
      file.append(head);
      for (const auto& [name, t, type] : tensors_) {
        file.append({static_cast<const char*>(t.data_ptr()), static_cast<std::size_t>(t.nbytes())});
        file.append(std::string((32 - t.nbytes() % 32) % 32, '\0'));
      }
      file.sync();
    }
    rename_durably(temporary, path);
  }

 private:
  struct Entry {
    std::string name;
    at::Tensor tensor;
    GgufType type;
  };
  std::string metadata_;
  std::uint64_t entries_ = 0;
  std::vector<Entry> tensors_;

  template <class T>
  void put(T v) { metadata_.append(reinterpret_cast<const char*>(&v), sizeof v); }
  void string(const std::string& s) { put(static_cast<std::uint64_t>(s.size())), metadata_ += s; }
  void entry(const std::string& key, std::uint32_t type) { string(key), put(type), ++entries_; }
};

// The name that llama.cpp has for this pre-tokeniser.
std::string pre_name(const SortedJson& tokenizer, const std::string& file) {
  const std::string steps = tokenizer.value("pre_tokenizer", SortedJson()).dump();
  if (steps.find("\"Digits\"") != steps.npos && steps.find("\"individual_digits\":true") != steps.npos) return "smollm";
  if (steps.find("\\\\p{N}{1,3}") != steps.npos) return "llama-bpe";
  if (steps.find("\"Split\"") != steps.npos && steps.find("|\\\\p{N}|") != steps.npos) return "qwen2";
  if (steps.find("\"Split\"") == steps.npos && steps.find("\"ByteLevel\"") != steps.npos) return "gpt-2";
  throw InputError(file, 0, "GGUF has no name that we know for this pre-tokeniser");
}

void write_tokenizer(GgufWriter& out, const fs::path& folder) {
  const fs::path file = folder / "tokenizer.json", config_file = folder / "tokenizer_config.json";
  if (!fs::exists(file)) throw InputError(folder.string(), 0, "no tokenizer.json; only byte-level BPE tokenizers can be exported to GGUF");
  const SortedJson json = parse_sorted_json(read_file(file), file.string());
  const Json config = fs::exists(config_file) ? parse_json(read_file(config_file), config_file.string()) : Json::object();
  try {
    std::size_t size = 0;
    for (const auto& [token, id] : json.at("model").at("vocab").items()) size = std::max(size, id.get<std::size_t>() + 1);
    for (const SortedJson& t : json.at("added_tokens")) size = std::max(size, t.at("id").get<std::size_t>() + 1);
    std::vector<std::string> tokens(size), merges;
    std::vector<std::int32_t> types(size, 1);
    std::map<std::string, std::uint32_t> ids;
    for (const auto& [token, id] : json["model"]["vocab"].items()) tokens[id.get<std::size_t>()] = token;
    for (const SortedJson& t : json["added_tokens"]) {
      const auto id = t["id"].get<std::size_t>();
      tokens[id] = t.at("content").get<std::string>();
      types[id] = t.value("special", false) ? 3 : 4;
      ids[tokens[id]] = static_cast<std::uint32_t>(id);
    }
    for (const SortedJson& m : json["model"].at("merges")) merges.push_back(m.is_array() ? m[0].get<std::string>() + " " + m[1].get<std::string>() : m.get<std::string>());
    out.text("tokenizer.ggml.model", "gpt2");
    out.text("tokenizer.ggml.pre", pre_name(json, file.string()));
    out.texts("tokenizer.ggml.tokens", tokens);
    out.integers("tokenizer.ggml.token_type", types);
    out.texts("tokenizer.ggml.merges", merges);
    for (const auto& [field, key] : {std::pair<const char*, const char*>{"bos_token", "bos"}, {"eos_token", "eos"}, {"pad_token", "padding"}, {"unk_token", "unknown"}}) {
      if (!config.contains(field)) continue;
      const std::string name = config[field].is_object() ? config[field].value("content", "") : config[field].is_string() ? config[field].get<std::string>() : "";
      if (ids.count(name)) out.number(std::string("tokenizer.ggml.") + key + "_token_id", ids[name]);
    }
    out.flag("tokenizer.ggml.add_bos_token", config.value("add_bos_token", false));
    if (config.contains("chat_template") && config["chat_template"].is_string()) out.text("tokenizer.chat_template", config["chat_template"].get<std::string>());
  } catch (const SortedJson::exception&) {
    throw InputError(file.string(), 0, "not a byte-level BPE tokenizer.json");
  }
}

// The reverse of loading: llama.cpp interleaves the two halves of each head of q and k.
at::Tensor interleaved(const at::Tensor& t, std::int64_t heads) {
  const auto rows = t.size(0), half = rows / heads / 2;
  return t.view({heads, 2, half, -1}).transpose(1, 2).reshape({rows, -1});
}

}  // namespace

void export_gguf(const Llama& model, const fs::path& tokenizer_folder, const fs::path& file, const std::string& dtype) {
  const std::map<std::string, std::pair<GgufType, std::uint32_t>> types = {{"f32", {GgufType::kF32, 0}}, {"f16", {GgufType::kF16, 1}}, {"bf16", {GgufType::kBF16, 32}}};
  const auto type = types.find(dtype);
  if (type == types.end()) throw UsageError("dtype " + printable(dtype) + "; accepted for GGUF: f32, f16, bf16");
  const ModelConfig& c = model.config;
  for (const char* known : {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", ""}) {
    if (c.architecture == known) break;
    if (*known == '\0') throw InputError("GGUF export of " + c.architecture + " is not supported; use --format hf");
  }
  if (!c.windowed.empty()) throw InputError("GGUF export of a model with a sliding window in some layers only is not supported; use --format hf");
  if (c.rope_scaling.kind != RopeKind::kNone) throw InputError("GGUF export of a model with scaled rotary frequencies is not supported; use --format hf");
  if (c.output_bias || (c.qkv_bias && c.architecture == "LlamaForCausalLM")) throw InputError("GGUF export of this architecture with attention biases is not supported; use --format hf");
  const std::string kind = c.architecture.starts_with("Qwen2") ? "qwen2" : c.architecture.starts_with("Qwen3") ? "qwen3" : "llama";
  GgufWriter out;
  out.text("general.architecture", kind);
  out.number("general.file_type", type->second.second);
  const auto whole = [&](const char* key, std::int64_t v) { out.number(kind + "." + key, static_cast<std::uint32_t>(v)); };
  whole("block_count", c.layers), whole("embedding_length", c.width), whole("feed_forward_length", c.ffn_width), whole("context_length", c.context);
  whole("attention.head_count", c.heads), whole("attention.head_count_kv", c.kv_heads), whole("attention.key_length", c.head_width), whole("attention.value_length", c.head_width);
  whole("rope.dimension_count", c.head_width), whole("vocab_size", c.vocabulary);
  if (c.sliding_window > 0) whole("attention.sliding_window", c.sliding_window);
  out.real(kind + ".rope.freq_base", static_cast<float>(c.rope_base));
  out.real(kind + ".attention.layer_norm_rms_epsilon", static_cast<float>(c.norm_epsilon));
  write_tokenizer(out, tokenizer_folder);

  const auto matrix = [&](const std::string& name, const at::Tensor& t) { out.tensor(name, t, type->second.first); };
  const auto vector = [&](const std::string& name, const at::Tensor& t) { out.tensor(name, t, GgufType::kF32); };
  matrix("token_embd.weight", model.embedding);
  const std::vector<LayerTensor> tensors = layer_tensors(c);
  for (std::size_t i = 0; i < model.layers.size(); ++i)
    for (const LayerTensor& t : tensors) {
      const std::string name = "blk." + std::to_string(i) + "." + t.gguf;
      const at::Tensor& weight = model.layers[i].*t.tensor;
      const std::int64_t heads = kind != "llama" ? 0 : t.tensor == &LlamaLayer::q ? c.heads : t.tensor == &LlamaLayer::k ? c.kv_heads : 0;
      if (weight.dim() == 1) vector(name, weight);
      else matrix(name, heads > 0 ? interleaved(weight, heads) : weight);
    }
  vector("output_norm.weight", model.norm);
  if (!c.tied_head) matrix("output.weight", model.head);
  out.write(file);
}

}  // namespace cai
