// GGUF metadata.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/model/config.hpp"
#include "cai/model/families.hpp"

namespace cai {
namespace {

// The metadata of one architecture; each complaint names the key.
struct Metadata {
  const GgufFile& gguf;
  const std::string& file;
  std::string architecture;

  double number(const std::string& key, std::optional<double> otherwise = {}) const {
    const auto it = gguf.metadata.find(key);
    if (it == gguf.metadata.end() && otherwise) return *otherwise;
    const double* v = it == gguf.metadata.end() ? nullptr : std::get_if<double>(&it->second);
    if (!v) throw InputError(file, 0, "metadata \"" + key + "\" must be a number");
    return *v;
  }
  double own(const std::string& key, double otherwise) const {
    return number(architecture + "." + key, otherwise);
  }
  std::int64_t whole(const std::string& key, std::optional<double> otherwise = {}) const {
    const double v = number(architecture + "." + key, otherwise);
    if (!(v >= 0 && v < 1e12) || v != std::floor(v))
      throw InputError(file, 0, "metadata \"" + architecture + "." + key + "\" must be a whole number");
    return static_cast<std::int64_t>(v);
  }
  std::string text(const std::string& key) const {
    const auto it = gguf.metadata.find(key);
    const std::string* v = it == gguf.metadata.end() ? nullptr : std::get_if<std::string>(&it->second);
    return v ? *v : "";
  }
  int token(const std::string& key) const {
    const double id = number(key, -1);
    return id >= 0 && id < 1 << 24 ? static_cast<int>(id) : -1;
  }
};

// The file holds float32; the model was made with the decimal number.
double decimal(double x) {
  return x > 0 && x < 1 ? static_cast<double>(std::llround(x * 1e9)) * 1e-9 : x;
}

// The same of a number of any size, which has seven digits that count.
double short_decimal(double x) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.7g", x);
  return std::strtod(digits, nullptr);
}

// What a tensor of divisors of the rotary frequencies has; empty: there is none of this name.
std::vector<double> divisors(const GgufFile& gguf, const std::string& name, const std::string& file) {
  for (const GgufTensor& t : gguf.tensors) {
    if (t.name != name) continue;
    if (t.type != GgufType::kF32 || t.shape.size() != 1)
      throw InputError(file, 0, "tensor " + in_quotes(name) + " is not a list of F32");
    std::vector<float> values(t.bytes.size() / sizeof(float));
    std::memcpy(values.data(), t.bytes.data(), values.size() * sizeof(float));
    return {values.begin(), values.end()};
  }
  return {};
}

// Divisors of the frequencies that Llama 3.1 and 3.2 come with become the scaling that they were made from; a
// list of others stands for itself.
RopeScaling scaling_of(const std::vector<double>& list, const ModelConfig& c) {
  for (const double factor : {8.0, 32.0}) {
    RopeScaling s{.kind = RopeKind::kLlama3, .factor = factor, .original_context = 8192};
    bool same = true;
    for (std::size_t i = 0; i < list.size() && same; ++i) {
      const double wave =
          2 * M_PI * std::pow(c.rope_base, 2 * static_cast<double>(i) / static_cast<double>(c.rotary()));
      const double smooth = std::clamp((8192 / wave - 1) / 3, 0.0, 1.0),
                   expected = 1 / ((1 - smooth) / factor + smooth);
      same = std::abs(list[i] - expected) <= 1e-4 * expected;
    }
    if (same) return s;
  }
  return {.kind = RopeKind::kLongrope,
          .original_context = c.context,
          .attention_factor = 1,
          .short_factors = list,
          .long_factors = list};
}

void read_rope(const Metadata& m, ModelConfig& c) {
  c.rope_base = m.own("rope.freq_base", 10000);
  if (const std::int64_t turned = m.whole("rope.dimension_count", static_cast<double>(c.head_width));
      turned != c.head_width)
    c.rotary_width = turned;
  RopeScaling& s = c.rope_scaling;
  const std::string kind = m.text(m.architecture + ".rope.scaling.type");
  if (kind == "linear")
    s = {.kind = RopeKind::kLinear, .factor = m.own("rope.scaling.factor", 1)};
  else if (kind == "yarn")
    s = {.kind = RopeKind::kYarn,
         .factor = m.own("rope.scaling.factor", 1),
         .original_context = m.whole("rope.scaling.original_context_length")};
  else if (kind != "" && kind != "none" && kind != "longrope")
    throw InputError(
        m.file, 0,
        "rope scaling " + in_quotes(kind) + " in a GGUF file; accepted: none, linear, yarn, longrope");
  const std::vector<double> all = divisors(m.gguf, "rope_freqs.weight", m.file),
                            near = divisors(m.gguf, "rope_factors_short.weight", m.file);
  if (!all.empty()) s = scaling_of(all, c);
  if (near.empty()) return;
  s = {.kind = RopeKind::kLongrope,
       .original_context = m.whole("rope.scaling.original_context_length", static_cast<double>(c.context)),
       .attention_factor = m.own("rope.scaling.attn_factor", 1),
       .short_factors = near,
       .long_factors = divisors(m.gguf, "rope_factors_long.weight", m.file)};
  if (s.original_context < c.context) c.file_context = c.context, c.context = s.original_context;
}

std::vector<bool> layers_where(const ModelConfig& c, const std::function<bool(std::int64_t)>& holds) {
  std::vector<bool> all;
  for (std::int64_t i = 0; i < std::min<std::int64_t>(c.layers, 1000); ++i)
    all.push_back(holds(i));
  return all;
}

// Architectures of GGUF files, as llama.cpp names them, and what is special to each.
struct Architecture {
  const char *name, *family;
  void (*read)(const Metadata&, ModelConfig&);
};

void read_gemma(const Metadata&, ModelConfig& c) {
  c.gelu = c.norms_less_one = true, c.embedding_scale = std::sqrt(static_cast<double>(c.width));
}

void read_gemma2(const Metadata& m, ModelConfig& c) {
  read_gemma(m, c);
  c.norms_after = true;
  c.attention_cap = m.own("attn_logit_softcapping", 50), c.logit_cap = m.own("final_logit_softcapping", 30);
  c.attention_scale =
      1 / std::sqrt(c.layers == 46 ? static_cast<double>(c.width / c.heads)
                                   : static_cast<double>(c.head_width));  // 46 layers: the 27B
  c.windowed = layers_where(c, [](std::int64_t i) { return i % 2 == 0; });
}

void read_gemma3(const Metadata& m, ModelConfig& c) {
  read_gemma2(m, c);
  c.attention_cap = c.logit_cap = 0, c.qk_norm = true;
  c.attention_scale =
      1 / std::sqrt(c.layers == 62 ? static_cast<double>(c.width / c.heads)
                                   : static_cast<double>(c.head_width));  // 62 layers: the 27B
  c.window_rope_base = m.own("rope.freq_base_swa", 10000);
  c.windowed = layers_where(c, [](std::int64_t i) { return (i + 1) % 6 != 0; });
}

void read_granite(const Metadata& m, ModelConfig& c) {
  c.embedding_scale = short_decimal(m.own("embedding_scale", 1)),
  c.residual_scale = short_decimal(m.own("residual_scale", 1));
  c.attention_scale = short_decimal(m.own("attention.scale", 0)),
  c.logit_divisor = short_decimal(m.own("logit_scale", 1));
}

constexpr Architecture kArchitectures[] = {
    {"llama", "LlamaForCausalLM",
     [](const Metadata&, ModelConfig& c) {
       if (c.sliding_window > 0) c.architecture = "MistralForCausalLM";
     }},
    {"qwen2", "Qwen2ForCausalLM", [](const Metadata&, ModelConfig& c) { c.qkv_bias = true; }},
    {"qwen3", "Qwen3ForCausalLM", [](const Metadata&, ModelConfig& c) { c.qk_norm = true; }},
    {"phi3", "Phi3ForCausalLM", [](const Metadata&, ModelConfig& c) { c.fused_weights = true; }},
    {"smollm3", "SmolLM3ForCausalLM",
     [](const Metadata&, ModelConfig& c) {
       c.rotated = layers_where(c, [](std::int64_t i) { return (i + 1) % 4 != 0; });
     }},
    {"gemma", "GemmaForCausalLM", read_gemma},
    {"gemma2", "Gemma2ForCausalLM", read_gemma2},
    {"gemma3", "Gemma3ForCausalLM", read_gemma3},
    {"olmo2", "Olmo2ForCausalLM",
     [](const Metadata&, ModelConfig& c) {
       c.norms_before = false, c.norms_after = c.qk_norm = c.qk_norm_is_whole = true;
     }},
    {"granite", "GraniteForCausalLM", read_granite},
};

const Architecture& architecture_in(const GgufFile& gguf, const std::string& file) {
  const std::string name = Metadata{gguf, file, ""}.text("general.architecture");
  std::string accepted;
  for (const Architecture& a : kArchitectures) {
    if (name == a.name) return a;
    accepted += (accepted.empty() ? "" : ", ") + std::string(a.name);
  }
  throw InputError(file, 0, "general.architecture " + in_quotes(name) + "; accepted: " + accepted);
}

}  // namespace

bool has_interleaved_heads(const ModelConfig& c) {
  for (const char* name :
       {"LlamaForCausalLM", "MistralForCausalLM", "GraniteForCausalLM", "SmolLM3ForCausalLM"})
    if (c.architecture == name) return true;
  return false;
}

bool is_rope_tensor(const std::string& name) {
  return name == "rope_freqs.weight" || name == "rope_factors_short.weight" ||
         name == "rope_factors_long.weight";
}

ModelConfig parse_model_config(const GgufFile& gguf, const std::string& file) {
  const Architecture& architecture = architecture_in(gguf, file);
  const Metadata m{gguf, file, architecture.name};
  ModelConfig c;
  c.architecture = architecture.family;
  c.layers = m.whole("block_count");
  c.width = m.whole("embedding_length");
  c.heads = m.whole("attention.head_count");
  c.kv_heads = m.whole("attention.head_count_kv", static_cast<double>(c.heads));
  c.head_width = m.whole("attention.key_length", c.heads > 0 ? static_cast<double>(c.width / c.heads) : 0);
  c.ffn_width = m.whole("feed_forward_length");
  c.context = m.whole("context_length");
  c.norm_epsilon = decimal(m.own("attention.layer_norm_rms_epsilon", 1e-5));
  c.sliding_window = m.whole("attention.sliding_window", 0);
  c.bos = m.token("tokenizer.ggml.bos_token_id");
  c.eos = m.token("tokenizer.ggml.eos_token_id");
  c.tied_head = true;
  for (const GgufTensor& t : gguf.tensors) {
    if (t.name == "token_embd.weight" && t.shape.size() == 2) c.vocabulary = t.shape.front();
    if (t.name == "output.weight") c.tied_head = false;
    if (t.name == "blk.0.attn_q.bias") c.qkv_bias = true;
    if (t.name == "blk.0.attn_output.bias") c.output_bias = true;
  }
  read_rope(m, c);
  architecture.read(m, c);
  check_model_config(c, file);
  return c;
}

}  // namespace cai
