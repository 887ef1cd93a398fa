#include "cai/model/config.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/hf_folder.hpp"

namespace cai {
namespace {

void check(const ModelConfig& c, const std::string& file) {
  const auto need = [&](bool ok, const std::string& what) {
    if (!ok) throw InputError(file, 0, what);
  };
  const auto in = [&](const char* name, std::int64_t v, std::int64_t most) {
    need(v >= 1 && v <= most, std::string(name) + " is " + std::to_string(v) + "; accepted: 1 to " + std::to_string(most));
  };
  in("the number of layers", c.layers, 1000), in("the width", c.width, 1 << 20), in("the number of heads", c.heads, 4096);
  in("the number of key/value heads", c.kv_heads, 4096), in("the head width", c.head_width, 4096), in("the feed-forward width", c.ffn_width, 1 << 22);
  in("the vocabulary", c.vocabulary, 1 << 24), in("the context", c.context, 1 << 26);
  need(c.heads % c.kv_heads == 0, "heads (" + std::to_string(c.heads) + ") is not a multiple of key/value heads (" + std::to_string(c.kv_heads) + ")");
  need(c.head_width % 2 == 0, "the head width is odd");
  need(std::isfinite(c.rope_base) && c.rope_base > 0, "rope_theta is not a positive number");
  need(c.norm_epsilon > 0 && c.norm_epsilon < 1, "rms_norm_eps is not between 0 and 1");
  const RopeScaling& s = c.rope_scaling;
  need(s.factor >= 1 && s.factor <= 1e6 && s.low_frequency_factor > 0 && s.high_frequency_factor > s.low_frequency_factor && s.high_frequency_factor <= 1e6,
       "the rope scaling needs a factor from 1 to 1000000 and 0 < low_freq_factor < high_freq_factor");
  in("original_max_position_embeddings", s.original_context, 1 << 26), in("the sliding window", std::max<std::int64_t>(c.sliding_window, 1), 1 << 26);
  need(c.sliding_window >= 0, "the sliding window is negative");
}

// Typed access to config.json that names the field in every complaint.
struct Fields {
  const Json& json;
  const std::string& file;

  const Json* find(const std::string& name) const {
    const auto it = json.find(name);
    return it == json.end() || it->is_null() ? nullptr : &*it;
  }
  std::int64_t whole(const std::string& name, std::optional<std::int64_t> otherwise = {}) const {
    const Json* v = find(name);
    if (!v && otherwise) return *otherwise;
    if (!v || !v->is_number_integer()) throw InputError(file, 0, "field \"" + name + "\" must be a whole number");
    return v->get<std::int64_t>();
  }
  double number(const std::string& name, double otherwise) const {
    const Json* v = find(name);
    if (!v) return otherwise;
    if (!v->is_number()) throw InputError(file, 0, "field \"" + name + "\" must be a number");
    return v->get<double>();
  }
  bool flag(const std::string& name, bool otherwise) const {
    const Json* v = find(name);
    if (!v) return otherwise;
    if (!v->is_boolean()) throw InputError(file, 0, "field \"" + name + "\" must be true or false");
    return v->get<bool>();
  }
  std::string text(const std::string& name, const std::string& otherwise) const {
    const Json* v = find(name);
    if (!v) return otherwise;
    if (!v->is_string()) throw InputError(file, 0, "field \"" + name + "\" must be a text");
    return v->get<std::string>();
  }
};

int token_id(double id) { return id >= 0 && id < 1 << 24 ? static_cast<int>(id) : -1; }

int first_token(const Json* v) {
  if (v && v->is_array() && !v->empty()) v = &(*v)[0];
  return v && v->is_number_integer() ? token_id(v->get<double>()) : -1;
}

}  // namespace

ModelConfig parse_model_config(const Json& json, const std::string& file) {
  if (!json.is_object()) throw InputError(file, 1, "not a JSON object");
  const Fields f{json, file};
  ModelConfig c;
  const Json* architectures = f.find("architectures");
  const std::string type = f.text("model_type", "");
  if (architectures && architectures->is_array() && architectures->size() == 1 && (*architectures)[0].is_string())
    c.architecture = (*architectures)[0].get<std::string>();
  const std::string name = c.architecture.substr(0, c.architecture.find("For"));
  const bool qwen2 = name == "Qwen2", qwen3 = name == "Qwen3", mistral = name == "Mistral";
  if (name != "Llama" && !mistral && !qwen2 && !qwen3)
    throw InputError(file, 0, "architecture " + in_quotes(c.architecture.empty() ? type : c.architecture) + "; accepted: LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM");
  c.architecture = name + "ForCausalLM";
  if (const std::string act = f.text("hidden_act", "silu"); act != "silu") throw InputError(file, 0, "hidden_act " + in_quotes(act) + "; accepted: silu");
  if (f.flag("mlp_bias", false)) throw InputError(file, 0, "mlp_bias true is not supported");
  c.layers = f.whole("num_hidden_layers");
  c.width = f.whole("hidden_size");
  c.heads = f.whole("num_attention_heads");
  c.kv_heads = f.whole("num_key_value_heads", c.heads);
  c.head_width = f.whole("head_dim", c.heads > 0 ? c.width / c.heads : 0);
  c.ffn_width = f.whole("intermediate_size");
  c.vocabulary = f.whole("vocab_size");
  c.context = f.whole("max_position_embeddings");
  c.norm_epsilon = f.number("rms_norm_eps", 1e-6);
  c.tied_head = f.flag("tie_word_embeddings", false);
  const bool attention_bias = f.flag("attention_bias", false);
  c.qkv_bias = qwen2 || attention_bias;
  c.output_bias = attention_bias;
  c.qk_norm = qwen3;
  // Newer files put rope_theta and the scaling together in rope_parameters.
  const Json* rope = f.find("rope_parameters") ? f.find("rope_parameters") : f.find("rope_scaling");
  c.rope_base = f.number("rope_theta", rope && rope->is_object() ? Fields{*rope, file}.number("rope_theta", 10000.0) : 10000.0);
  if (rope && rope->is_object()) {
    const Fields r{*rope, file};
    const std::string kind = r.text("rope_type", r.text("type", "default"));
    if (kind == "llama3") {
      c.rope_scaling = {r.number("factor", 8), r.number("low_freq_factor", 1), r.number("high_freq_factor", 4),
                        r.whole("original_max_position_embeddings", 8192)};
    } else if (kind != "default") {
      throw InputError(file, 0, "rope scaling " + in_quotes(kind) + "; accepted: default, llama3");
    }
  }
  const bool windowed = f.flag("use_sliding_window", mistral);
  if (windowed && f.find("sliding_window")) c.sliding_window = f.whole("sliding_window");
  if (c.sliding_window > 0 && !mistral && f.whole("max_window_layers", 0) != 0)
    throw InputError(file, 0, "a sliding window in some layers only (max_window_layers) is not supported");
  c.bos = first_token(f.find("bos_token_id"));
  c.eos = first_token(f.find("eos_token_id"));
  check(c, file);
  return c;
}

ModelConfig parse_model_config(const GgufFile& gguf, const std::string& file) {
  const auto number = [&](const std::string& key, std::optional<double> otherwise = {}) {
    const auto it = gguf.metadata.find(key);
    if (it == gguf.metadata.end() && otherwise) return *otherwise;
    const double* v = it == gguf.metadata.end() ? nullptr : std::get_if<double>(&it->second);
    if (!v) throw InputError(file, 0, "metadata \"" + key + "\" must be a number");
    return *v;
  };
  const auto it = gguf.metadata.find("general.architecture");
  const std::string* kind = it == gguf.metadata.end() ? nullptr : std::get_if<std::string>(&it->second);
  ModelConfig c;
  if (kind && *kind == "llama") c.architecture = "LlamaForCausalLM";
  else if (kind && *kind == "qwen2") c.architecture = "Qwen2ForCausalLM", c.qkv_bias = true;
  else if (kind && *kind == "qwen3") c.architecture = "Qwen3ForCausalLM", c.qk_norm = true;
  else throw InputError(file, 0, "general.architecture " + in_quotes(kind ? *kind : "") + "; accepted: llama, qwen2, qwen3");
  const std::string p = *kind + ".";
  const auto whole = [&](const std::string& key, std::optional<double> otherwise = {}) {
    const double v = number(p + key, otherwise);
    if (!(v >= 0 && v < 1e12) || v != std::floor(v)) throw InputError(file, 0, "metadata \"" + p + key + "\" must be a whole number");
    return static_cast<std::int64_t>(v);
  };
  c.layers = whole("block_count");
  c.width = whole("embedding_length");
  c.heads = whole("attention.head_count");
  c.kv_heads = whole("attention.head_count_kv", static_cast<double>(c.heads));
  c.head_width = whole("attention.key_length", c.heads > 0 ? static_cast<double>(c.width / c.heads) : 0);
  c.ffn_width = whole("feed_forward_length");
  c.context = whole("context_length");
  c.rope_base = number(p + "rope.freq_base", 10000);
  c.norm_epsilon = number(p + "attention.layer_norm_rms_epsilon", 1e-5);
  // The file holds float32; the model was made with the decimal number.
  if (c.norm_epsilon > 0 && c.norm_epsilon < 1) c.norm_epsilon = static_cast<double>(std::lround(c.norm_epsilon * 1e9)) * 1e-9;
  c.sliding_window = whole("attention.sliding_window", 0);
  c.bos = token_id(number("tokenizer.ggml.bos_token_id", -1));
  c.eos = token_id(number("tokenizer.ggml.eos_token_id", -1));
  if (const auto scaling = gguf.metadata.find(p + "rope.scaling.type"); scaling != gguf.metadata.end())
    if (const auto* name = std::get_if<std::string>(&scaling->second); name && *name != "none")
      throw InputError(file, 0, "rope scaling " + in_quotes(*name) + " in a GGUF file is not supported");
  c.tied_head = true;
  for (const GgufTensor& t : gguf.tensors) {
    if (t.name == "token_embd.weight" && t.shape.size() == 2) c.vocabulary = t.shape.front();
    if (t.name == "output.weight") c.tied_head = false;
    if (t.name == "rope_freqs.weight") throw InputError(file, 0, "rope_freqs.weight (scaled rotary frequencies) in a GGUF file is not supported; use the HF folder");
  }
  check(c, file);
  return c;
}

ModelConfig read_model_config(const std::filesystem::path& model) {
  if (const auto gguf = gguf_of_model(model); !gguf.empty()) return parse_model_config(read_gguf(gguf), gguf.string());
  hf_shards(model);  // what is wrong with the files is said before any work
  const std::string file = (model / "config.json").string();
  return parse_model_config(parse_json(read_file(file), file), file);
}

Json to_hf_json(const ModelConfig& c, const std::string& torch_dtype, const Json& extra) {
  const std::string name = c.architecture.substr(0, c.architecture.find("For"));
  std::string type = name;
  type[0] = static_cast<char>(type[0] - 'A' + 'a');
  Json j = {{"architectures", {c.architecture}}, {"model_type", type}, {"hidden_act", "silu"}, {"hidden_size", c.width},
            {"intermediate_size", c.ffn_width}, {"num_hidden_layers", c.layers}, {"num_attention_heads", c.heads},
            {"num_key_value_heads", c.kv_heads}, {"head_dim", c.head_width}, {"vocab_size", c.vocabulary},
            {"max_position_embeddings", c.context}, {"rms_norm_eps", c.norm_epsilon}, {"rope_theta", c.rope_base},
            {"tie_word_embeddings", c.tied_head}, {"torch_dtype", torch_dtype}};
  if (name != "Qwen2") j["attention_bias"] = c.output_bias;
  if (name == "Mistral" || c.sliding_window > 0) j["sliding_window"] = c.sliding_window > 0 ? Json(c.sliding_window) : Json(nullptr);
  if (c.rope_scaling.factor != 1)
    j["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", c.rope_scaling.factor}, {"low_freq_factor", c.rope_scaling.low_frequency_factor},
                         {"high_freq_factor", c.rope_scaling.high_frequency_factor}, {"original_max_position_embeddings", c.rope_scaling.original_context}};
  if (c.bos >= 0) j["bos_token_id"] = c.bos;
  if (c.eos >= 0) j["eos_token_id"] = c.eos;
  j.update(extra);
  return j;
}

}  // namespace cai
