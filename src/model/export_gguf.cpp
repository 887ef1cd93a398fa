#include <ATen/ATen.h>

#include <cstring>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/gguf.hpp"
#include "cai/io/gguf_vocabulary.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/layer_tensors.hpp"
#include "cai/model/llama.hpp"
#include "cai/model/rotary.hpp"

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
    for (const std::string& v : values)
      string(v);
  }
  template <class T>
  void list(const std::string& key, std::uint32_t type, const std::vector<T>& values) {
    entry(key, 9), put(type), put(static_cast<std::uint64_t>(values.size()));
    for (const T v : values)
      put(v);
  }
  void tensor(const std::string& name, at::Tensor t, GgufType type) {
    const auto kind = type == GgufType::kF16    ? at::kHalf
                      : type == GgufType::kBF16 ? at::kBFloat16
                                                : at::kFloat;
    tensors_.push_back({name, t.detach().to(kind).contiguous(), type});
  }

  void write(const fs::path& path) const {
    std::string head = "GGUF";
    const auto put_head = [&](auto v) { head.append(reinterpret_cast<const char*>(&v), sizeof v); };
    put_head(std::uint32_t{3}), put_head(static_cast<std::uint64_t>(tensors_.size())),
        put_head(static_cast<std::uint64_t>(entries_));
    head += metadata_;
    std::uint64_t offset = 0;
    for (const auto& [name, t, type] : tensors_) {
      put_head(static_cast<std::uint64_t>(name.size()));
      head += name;
      put_head(static_cast<std::uint32_t>(t.dim()));
      for (std::int64_t d = t.dim(); d-- > 0;)
        put_head(static_cast<std::uint64_t>(t.size(d)));
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
  void put(T v) {
    metadata_.append(reinterpret_cast<const char*>(&v), sizeof v);
  }
  void string(const std::string& s) { put(static_cast<std::uint64_t>(s.size())), metadata_ += s; }
  void entry(const std::string& key, std::uint32_t type) { string(key), put(type), ++entries_; }
};

// A tokenizer as long as the embedding: llama.cpp wants a token for each row. Rows that no text reaches get a
// name of their own.
void write_vocabulary(GgufWriter& out, const GgufVocabulary& v, std::size_t rows) {
  const auto fit = [&](auto values, const auto& other) {
    values.resize(rows, other);
    return values;
  };
  std::vector<std::string> tokens = fit(v.tokens, std::string());
  for (std::size_t i = v.tokens.size(); i < rows; ++i)
    tokens[i] = "[PAD" + std::to_string(i) + "]";
  out.text("tokenizer.ggml.model", v.model);
  if (!v.pre.empty()) out.text("tokenizer.ggml.pre", v.pre);
  out.texts("tokenizer.ggml.tokens", tokens);
  out.list("tokenizer.ggml.token_type", 5, fit(v.types, std::int32_t{5}));  // unused
  if (v.model == "llama")
    out.list("tokenizer.ggml.scores", 6, fit(v.scores, -1000.0f));
  else
    out.texts("tokenizer.ggml.merges", v.merges);
  for (const auto& [key, id] : v.ids)
    if (id < rows) out.number("tokenizer.ggml." + key, id);
  for (const auto& [key, value] : v.flags)
    out.flag("tokenizer.ggml." + key, value);
  if (!v.chat_template.empty()) out.text("tokenizer.chat_template", v.chat_template);
}

// The reverse of loading: llama.cpp interleaves the two halves of each head of q and k, biases too.
at::Tensor interleaved(const at::Tensor& t, std::int64_t heads) {
  const auto rows = t.size(0), half = rows / heads / 2;
  return t.view({heads, 2, half, -1}).transpose(1, 2).reshape(t.sizes());
}

// Whether llama.cpp takes the scaling from divisors of the frequencies.
bool has_divisors(const ModelConfig& c) {
  return c.rope_scaling.kind == RopeKind::kLlama3 || c.rope_scaling.kind == RopeKind::kLongrope;
}

// [rotary / 2] what llama.cpp divides the frequencies by.
at::Tensor frequency_divisors(const ModelConfig& c) {
  ModelConfig plain = c;
  plain.rope_scaling = {};
  return rotary_frequencies(plain, 0).frequencies / rotary_frequencies(c, 0).frequencies;
}

void write_shape(GgufWriter& out, const ModelConfig& c, const std::string& kind) {
  const auto whole = [&](const char* key, std::int64_t v) {
    out.number(kind + "." + key, static_cast<std::uint32_t>(v));
  };
  whole("block_count", c.layers);
  whole("embedding_length", c.width);
  whole("feed_forward_length", c.ffn_width);
  whole("context_length", c.file_context > 0 ? c.file_context : c.context);
  whole("attention.head_count", c.heads);
  whole("attention.head_count_kv", c.kv_heads);
  whole("attention.key_length", c.head_width);
  whole("attention.value_length", c.head_width);
  whole("vocab_size", c.vocabulary);
  if (c.sliding_window > 0) whole("attention.sliding_window", c.sliding_window);
  whole("rope.dimension_count", c.rotary());
  out.real(kind + ".rope.freq_base", static_cast<float>(c.rope_base));
  out.real(kind + ".attention.layer_norm_rms_epsilon", static_cast<float>(c.norm_epsilon));
}

void write_tensors(GgufWriter& out, const Llama& model, const std::string& kind, GgufType type) {
  const ModelConfig& c = model.config;
  const auto add = [&](const std::string& name, const at::Tensor& t) {
    out.tensor(name, t, t.dim() == 1 ? GgufType::kF32 : type);
  };
  const auto heads = [&](const LayerTensor& t) -> std::int64_t {
    if (kind != "llama") return 0;
    if (t.tensor == &LlamaLayer::q || t.tensor == &LlamaLayer::q_bias) return c.heads;
    return t.tensor == &LlamaLayer::k || t.tensor == &LlamaLayer::k_bias ? c.kv_heads : 0;
  };
  add("token_embd.weight", model.embedding);
  if (has_divisors(c)) add("rope_freqs.weight", frequency_divisors(c));
  for (std::size_t i = 0; i < model.layers.size(); ++i)
    for (const LayerTensor& t : layer_tensors(c)) {
      const at::Tensor& weight = model.layers[i].*t.tensor;
      add("blk." + std::to_string(i) + "." + t.gguf, heads(t) > 0 ? interleaved(weight, heads(t)) : weight);
    }
  add("output_norm.weight", model.norm);
  if (!c.tied_head) add("output.weight", model.head);
}

// llama.cpp's name of the architecture; "" for those that are not written.
std::string kind_of(const ModelConfig& c) {
  const std::pair<const char*, const char*> kinds[] = {{"LlamaForCausalLM", "llama"},
                                                       {"MistralForCausalLM", "llama"},
                                                       {"Qwen2ForCausalLM", "qwen2"},
                                                       {"Qwen3ForCausalLM", "qwen3"}};
  for (const auto& [architecture, kind] : kinds)
    if (c.architecture == architecture) return kind;
  return "";
}

}  // namespace

std::string gguf_problem(const ModelConfig& c) {
  const std::string kind = kind_of(c), of = "a GGUF file of the architecture " + kind;
  const RopeScaling& s = c.rope_scaling;
  if (kind.empty()) return "cai does not write GGUF files of " + c.architecture;
  if (!c.windowed.empty()) return of + " has no place for a sliding window in some layers only";
  if (s.kind == RopeKind::kLinear) return "cai does not write linear rotary scaling to GGUF files";
  if (s.kind == RopeKind::kYarn) return "cai does not write yarn rotary scaling to GGUF files";
  if (has_divisors(c) && kind != "llama") return of + " has no place for rotary scaling of this kind";
  if (s.kind == RopeKind::kLongrope && s.attention_factor != 1)
    return of + " has no place for longrope's attention_factor";
  if (c.output_bias && kind != "llama") return of + " has no place for a bias of the attention's output";
  if (c.qkv_bias && kind == "qwen3") return of + " has no place for biases of queries, keys and values";
  return "";
}

void export_gguf(const Llama& model, const GgufVocabulary& vocabulary, const std::string& name,
                 const fs::path& file, const std::string& dtype) {
  const std::map<std::string, std::pair<GgufType, std::uint32_t>> types = {
      {"f32", {GgufType::kF32, 0}}, {"f16", {GgufType::kF16, 1}}, {"bf16", {GgufType::kBF16, 32}}};
  const auto type = types.find(dtype);
  if (type == types.end())
    throw UsageError("dtype " + printable(dtype) + "; accepted for GGUF: f32, f16, bf16");
  if (const std::string problem = gguf_problem(model.config); !problem.empty())
    throw InputError(problem + "; use --format hf");
  const std::string kind = kind_of(model.config);
  GgufWriter out;
  out.text("general.architecture", kind);
  out.text("general.name", name);
  out.number("general.file_type", type->second.second);
  write_shape(out, model.config, kind);
  write_vocabulary(out, vocabulary, static_cast<std::size_t>(model.config.vocabulary));
  write_tensors(out, model, kind, type->second.first);
  out.write(file);
}

}  // namespace cai
