#include "cai/model/families.hpp"

#include <algorithm>
#include <cmath>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

constexpr const char *kFull = "full_attention", *kSliding = "sliding_attention";

// Which layers are windowed: as layer_types says, else those for which is_windowed(layer) holds. `otherwise`:
// the window of a file that has no such field; null is none.
template <class IsWindowed>
void read_windows(const ConfigFields& f, ModelConfig& c, std::int64_t otherwise,
                  const IsWindowed& is_windowed) {
  c.sliding_window = f.json.contains("sliding_window") ? f.whole("sliding_window", 0) : otherwise;
  if (c.sliding_window <= 0 || c.layers <= 0 || c.layers > 1000) return;
  const Json* types = f.find("layer_types");
  if (types && (!types->is_array() || types->size() != static_cast<std::size_t>(c.layers)))
    throw InputError(
        f.file, 0,
        "field \"layer_types\" must name a kind for each of the " + std::to_string(c.layers) + " layers");
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const Json* const type = types ? &(*types)[static_cast<std::size_t>(i)] : nullptr;
    if (type && *type != kFull && *type != kSliding)
      throw InputError(
          f.file, 0, "layer_types " + type->dump() + "; accepted: \"full_attention\", \"sliding_attention\"");
    c.windowed.push_back(type ? *type == kSliding : is_windowed(i));
  }
  if (std::none_of(c.windowed.begin(), c.windowed.end(), [](bool w) { return w; })) c.sliding_window = 0;
  if (c.sliding_window == 0 || std::all_of(c.windowed.begin(), c.windowed.end(), [](bool w) { return w; }))
    c.windowed.clear();
}

void write_layer_types(const ModelConfig& c, Json& j) {
  Json types = Json::array();
  for (std::int64_t i = 0; i < c.layers; ++i)
    types.push_back(c.is_windowed(i) ? kSliding : kFull);
  j["layer_types"] = types;
}

void write_window(const ModelConfig& c, Json& j) {
  j["sliding_window"] = c.sliding_window > 0 ? Json(c.sliding_window) : Json(nullptr);
}

void write_window_and_types(const ModelConfig& c, Json& j) {
  write_window(c, j), write_layer_types(c, j);
}

bool always(std::int64_t) {
  return true;
}

void read_attention_bias(const ConfigFields& f, ModelConfig& c) {
  c.qkv_bias = c.output_bias = f.flag("attention_bias", false);
}
void write_attention_bias(const ModelConfig& c, Json& j) {
  j["attention_bias"] = c.output_bias;
}

void read_mistral(const ConfigFields& f, ModelConfig& c) {
  read_windows(f, c, 4096, always);
}

// Layers below max_window_layers see everything.
void read_qwen_windows(const ConfigFields& f, ModelConfig& c) {
  if (!f.flag("use_sliding_window", false)) return;
  const std::int64_t full = f.whole("max_window_layers", 28);
  read_windows(f, c, 4096, [full](std::int64_t i) { return i >= full; });
}

void write_qwen_windows(const ModelConfig& c, Json& j) {
  if (c.sliding_window == 0) return;
  std::int64_t full = 0;
  while (full < c.layers && !c.is_windowed(full))
    ++full;
  j["use_sliding_window"] = true, j["max_window_layers"] = full;
  write_window_and_types(c, j);
}

void read_qwen2(const ConfigFields& f, ModelConfig& c) {
  c.qkv_bias = true, read_qwen_windows(f, c);
}
void read_qwen3(const ConfigFields& f, ModelConfig& c) {
  c.qk_norm = true, read_attention_bias(f, c), read_qwen_windows(f, c);
}
void write_qwen3(const ModelConfig& c, Json& j) {
  write_attention_bias(c, j), write_qwen_windows(c, j);
}

void read_phi3(const ConfigFields& f, ModelConfig& c) {
  c.fused_weights = true, read_windows(f, c, 0, always);
}

void write_phi3(const ModelConfig& c, Json& j) {
  write_window(c, j);
  j["partial_rotary_factor"] = static_cast<double>(c.rotary()) / static_cast<double>(c.head_width);
  j["original_max_position_embeddings"] =
      c.rope_scaling.original_context > 0 ? c.rope_scaling.original_context : c.context;
}

// Every fourth layer does not rotate.
void read_smollm3(const ConfigFields& f, ModelConfig& c) {
  read_attention_bias(f, c);
  const std::int64_t interval = f.whole("no_rope_layer_interval", 4);
  const Json* list = f.find("no_rope_layers");
  if (interval < 1 ||
      (list &&
       (!list->is_array() || list->size() < static_cast<std::size_t>(std::max<std::int64_t>(0, c.layers)))))
    throw InputError(f.file, 0,
                     "field \"no_rope_layers\" must have a number for each layer, and "
                     "\"no_rope_layer_interval\" be positive");
  for (std::int64_t i = 0; i < std::min<std::int64_t>(c.layers, 1000); ++i)
    c.rotated.push_back(list ? (*list)[static_cast<std::size_t>(i)] != 0 : (i + 1) % interval != 0);
  if (f.flag("use_sliding_window", false))
    read_windows(f, c, 0, [&](std::int64_t i) { return !c.rotates(i); });
}

void write_smollm3(const ModelConfig& c, Json& j) {
  write_attention_bias(c, j), write_window_and_types(c, j);
  j["use_sliding_window"] = c.sliding_window > 0;
  Json list = Json::array();
  for (std::int64_t i = 0; i < c.layers; ++i)
    list.push_back(c.rotates(i) ? 1 : 0);
  j["no_rope_layers"] = list;
}

void read_gemma(const ConfigFields& f, ModelConfig& c) {
  c.norms_less_one = c.gelu = true;
  c.embedding_scale = std::sqrt(static_cast<double>(c.width));
  read_attention_bias(f, c);
}

// Norms on both sides, caps, every other layer windowed.
void read_gemma2(const ConfigFields& f, ModelConfig& c) {
  read_gemma(f, c);
  c.norms_after = true;
  if (f.flag("use_bidirectional_attention", false))
    throw InputError(f.file, 0, "use_bidirectional_attention true is not supported");
  const double scalar = f.number("query_pre_attn_scalar", 256);
  if (!(scalar > 0)) throw InputError(f.file, 0, "query_pre_attn_scalar is not a positive number");
  c.attention_scale = 1 / std::sqrt(scalar);
  c.attention_cap = f.json.contains("attn_logit_softcapping") ? f.number("attn_logit_softcapping", 0) : 50;
  c.logit_cap = f.json.contains("final_logit_softcapping") ? f.number("final_logit_softcapping", 0) : 30;
  read_windows(f, c, 4096, [](std::int64_t i) { return i % 2 == 0; });
}

void write_gemma2(const ModelConfig& c, Json& j) {
  write_attention_bias(c, j), write_window_and_types(c, j);
  const auto cap = [](double x) { return x > 0 ? Json(x) : Json(nullptr); };
  j["query_pre_attn_scalar"] = std::llround(1 / (c.attention_scale * c.attention_scale));
  j["attn_logit_softcapping"] = cap(c.attention_cap), j["final_logit_softcapping"] = cap(c.logit_cap);
}

// No caps by default; head norms; five of six layers windowed, with a rotary base of their own.
void read_gemma3(const ConfigFields& f, ModelConfig& c) {
  read_gemma2(f, c);
  c.qk_norm = true;
  c.attention_cap = f.number("attn_logit_softcapping", 0),
  c.logit_cap = f.number("final_logit_softcapping", 0);
  const std::int64_t pattern = f.whole("sliding_window_pattern", 6);
  if (pattern < 1) throw InputError(f.file, 0, "sliding_window_pattern is not positive");
  c.windowed.clear();
  read_windows(f, c, 4096, [pattern](std::int64_t i) { return (i + 1) % pattern != 0; });
}

void read_olmo2(const ConfigFields& f, ModelConfig& c) {
  read_attention_bias(f, c);
  c.norms_before = false, c.norms_after = c.qk_norm = c.qk_norm_is_whole = true;
}

void read_olmo3(const ConfigFields& f, ModelConfig& c) {
  read_olmo2(f, c);
  read_windows(f, c, 4096, [](std::int64_t i) { return (i + 1) % 4 != 0; });
}

void write_olmo3(const ModelConfig& c, Json& j) {
  write_attention_bias(c, j), write_window_and_types(c, j);
}

void read_granite(const ConfigFields& f, ModelConfig& c) {
  read_attention_bias(f, c);
  c.embedding_scale = f.number("embedding_multiplier", 1),
  c.residual_scale = f.number("residual_multiplier", 1);
  c.attention_scale = f.number("attention_multiplier", 1), c.logit_divisor = f.number("logits_scaling", 1);
}

void write_granite(const ModelConfig& c, Json& j) {
  write_attention_bias(c, j);
  j["embedding_multiplier"] = c.embedding_scale, j["residual_multiplier"] = c.residual_scale;
  j["attention_multiplier"] = c.attention_scale, j["logits_scaling"] = c.logit_divisor;
}

constexpr Family kFamilies[] = {
    {"Llama", "llama", 1e-6, 1e4, false, 0, read_attention_bias, write_attention_bias},
    {"Mistral", "mistral", 1e-6, 1e4, false, 0, read_mistral, write_window},
    {"Qwen2", "qwen2", 1e-6, 1e4, false, 0, read_qwen2, write_qwen_windows},
    {"Qwen3", "qwen3", 1e-6, 1e4, false, 128, read_qwen3, write_qwen3},
    {"Phi3", "phi3", 1e-5, 1e4, false, 0, read_phi3, write_phi3},
    {"SmolLM3", "smollm3", 1e-6, 2e6, true, 0, read_smollm3, write_smollm3},
    {"Gemma", "gemma", 1e-6, 1e4, true, 256, read_gemma, write_attention_bias},
    {"Gemma2", "gemma2", 1e-6, 1e4, true, 256, read_gemma2, write_gemma2},
    {"Gemma3", "gemma3_text", 1e-6, 1e6, true, 256, read_gemma3, write_gemma2},
    {"Olmo2", "olmo2", 1e-5, 1e4, false, 0, read_olmo2, write_attention_bias},
    {"Olmo3", "olmo3", 1e-5, 5e5, false, 0, read_olmo3, write_olmo3},
    {"Granite", "granite", 1e-6, 1e4, false, 0, read_granite, write_granite},
};

struct Unread {
  const char *part, *what;
};
constexpr Unread kUnread[] = {{"Moe", "a mixture of experts"},
                              {"Mixtral", "a mixture of experts"},
                              {"Dbrx", "a mixture of experts"},
                              {"Deepseek", "latent attention or a mixture of experts"},
                              {"GptOss", "a mixture of experts"},
                              {"Mamba", "a state-space model"},
                              {"Hybrid", "a state-space hybrid"},
                              {"Jamba", "a state-space hybrid"},
                              {"FalconH1", "a state-space hybrid"},
                              {"Rwkv", "a recurrent model"},
                              {"VL", "a model of images and text"},
                              {"ConditionalGeneration", "a model of more than text, or with an encoder"},
                              {"Vision", "a model of images and text"},
                              {"T5", "an encoder and a decoder"},
                              {"Bert", "an encoder"}};

}  // namespace

std::span<const Family> families() {
  return kFamilies;
}

const Family* family_of(const std::string& architecture) {
  const std::size_t end = architecture.find("For");
  std::string name = architecture.substr(0, end);
  if (name == "Gemma3Text") name = "Gemma3";
  if (end == architecture.npos ||
      (architecture.substr(end) != "ForCausalLM" && architecture.substr(end) != "ForSequenceClassification"))
    return nullptr;
  for (const Family& family : kFamilies)
    if (name == family.name) return &family;
  return nullptr;
}

std::string accepted_architectures() {
  std::string all;
  for (const Family& family : kFamilies)
    all += (all.empty() ? "" : ", ") + std::string(family.name) + "ForCausalLM";
  return all;
}

std::string why_not_read(const std::string& architecture) {
  std::string why = "architecture " + in_quotes(architecture);
  for (const Unread& kind : kUnread)
    if (architecture.find(kind.part) != architecture.npos) {
      why += std::string(" (") + kind.what + ")";
      break;
    }
  const Family* nearest = nullptr;
  std::size_t most = 3;  // letters alike
  for (const Family& family : kFamilies) {
    const std::string name = family.name;
    const std::size_t alike = static_cast<std::size_t>(
        std::mismatch(name.begin(), name.end(), architecture.begin(), architecture.end()).first -
        name.begin());
    if (alike > most || (alike == most && nearest && name.size() < std::string(nearest->name).size()))
      nearest = &family, most = alike;
  }
  why += " is not read";
  if (nearest) why += std::string("; the nearest that is: ") + nearest->name + "ForCausalLM";
  return why + "; accepted: " + accepted_architectures();
}

}  // namespace cai
