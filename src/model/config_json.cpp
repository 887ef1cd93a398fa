// config.json of HF folders.
#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/model/config.hpp"
#include "cai/model/families.hpp"

namespace cai {
namespace {

int first_token(const Json* v) {
  if (v && v->is_array() && !v->empty()) v = &(*v)[0];
  if (!v || !v->is_number_integer()) return -1;
  const double id = v->get<double>();
  return id >= 0 && id < 1 << 24 ? static_cast<int>(id) : -1;
}

// The HF class that the file names; model_type where it names none or several.
std::string architecture_in(const ConfigFields& f) {
  const Json* names = f.find("architectures");
  return names && names->is_array() && names->size() == 1 && (*names)[0].is_string()
             ? (*names)[0].get<std::string>()
             : f.text("model_type", "");
}

void need_activation(const ConfigFields& f, bool gelu) {
  const std::string act = gelu && f.find("hidden_activation")
                              ? f.text("hidden_activation", "")
                              : f.text("hidden_act", gelu ? "gelu_pytorch_tanh" : "silu");
  const bool is_known = gelu ? act == "gelu_pytorch_tanh" || act == "gelu_new" ||
                                   act == "gelu" /* means the same in these files */
                             : act == "silu";
  if (!is_known)
    throw InputError(f.file, 0,
                     "hidden_act " + in_quotes(act) + "; accepted: " + (gelu ? "gelu_pytorch_tanh" : "silu"));
}

}  // namespace

const Json* ConfigFields::find(const std::string& name) const {
  const auto it = json.find(name);
  return it == json.end() || it->is_null() ? nullptr : &*it;
}

std::int64_t ConfigFields::whole(const std::string& name, std::optional<std::int64_t> otherwise) const {
  const Json* v = find(name);
  if (!v && otherwise) return *otherwise;
  if (!v || !v->is_number_integer())
    throw InputError(file, 0, "field \"" + name + "\" must be a whole number");
  return v->get<std::int64_t>();
}

double ConfigFields::number(const std::string& name, double otherwise) const {
  const Json* v = find(name);
  if (!v) return otherwise;
  if (!v->is_number()) throw InputError(file, 0, "field \"" + name + "\" must be a number");
  return v->get<double>();
}

std::vector<double> ConfigFields::numbers(const std::string& name) const {
  const Json* v = find(name);
  if (!v || !v->is_array() || !std::all_of(v->begin(), v->end(), [](const Json& x) { return x.is_number(); }))
    throw InputError(file, 0, "field \"" + name + "\" must be a list of numbers");
  return v->get<std::vector<double>>();
}

bool ConfigFields::flag(const std::string& name, bool otherwise) const {
  const Json* v = find(name);
  if (!v) return otherwise;
  if (!v->is_boolean()) throw InputError(file, 0, "field \"" + name + "\" must be true or false");
  return v->get<bool>();
}

std::string ConfigFields::text(const std::string& name, const std::string& otherwise) const {
  const Json* v = find(name);
  if (!v) return otherwise;
  if (!v->is_string()) throw InputError(file, 0, "field \"" + name + "\" must be a text");
  return v->get<std::string>();
}

ModelConfig parse_model_config(const Json& json, const std::string& file) {
  if (!json.is_object()) throw InputError(file, 1, "not a JSON object");
  const ConfigFields f{json, file};
  const std::string architecture = architecture_in(f);
  const Family* family = family_of(architecture);
  if (!family) throw InputError(file, 0, why_not_read(architecture));
  ModelConfig c;
  c.architecture = std::string(family->name) + "ForCausalLM";
  if (f.flag("mlp_bias", false)) throw InputError(file, 0, "mlp_bias true is not supported");
  c.layers = f.whole("num_hidden_layers");
  c.width = f.whole("hidden_size");
  c.heads = f.whole("num_attention_heads");
  c.kv_heads = f.whole("num_key_value_heads", c.heads);
  c.head_width = f.whole("head_dim", family->head_width > 0 ? family->head_width
                                     : c.heads > 0          ? c.width / c.heads
                                                            : 0);
  c.ffn_width = f.whole("intermediate_size");
  c.vocabulary = f.whole("vocab_size");
  c.context = f.whole("max_position_embeddings");
  c.norm_epsilon = f.number("rms_norm_eps", family->norm_epsilon);
  c.tied_head = f.flag("tie_word_embeddings", family->tied_head);
  c.bos = first_token(f.find("bos_token_id"));
  c.eos = first_token(f.find("eos_token_id"));
  c.pad = first_token(f.find("pad_token_id"));
  family->read(f, c);
  need_activation(f, c.gelu);
  read_rope(f, *family, c);
  check_model_config(c, file);
  return c;
}

Json to_hf_json(const ModelConfig& c, const std::string& torch_dtype, const Json& extra) {
  const Family* family = family_of(c.architecture);
  if (!family) throw Bug("a model of architecture " + c.architecture);
  Json j = {{"architectures", {c.architecture}},
            {"model_type", family->type},
            {"hidden_size", c.width},
            {"intermediate_size", c.ffn_width},
            {"num_hidden_layers", c.layers},
            {"num_attention_heads", c.heads},
            {"num_key_value_heads", c.kv_heads},
            {"head_dim", c.head_width},
            {"vocab_size", c.vocabulary},
            {"max_position_embeddings", c.file_context > 0 ? c.file_context : c.context},
            {"rms_norm_eps", c.norm_epsilon},
            {"tie_word_embeddings", c.tied_head},
            {"torch_dtype", torch_dtype},
            {"hidden_act", c.gelu ? "gelu_pytorch_tanh" : "silu"}};
  if (c.gelu) j["hidden_activation"] = "gelu_pytorch_tanh";
  write_rope(c, j);
  family->write(c, j);
  if (c.bos >= 0) j["bos_token_id"] = c.bos;
  if (c.eos >= 0) j["eos_token_id"] = c.eos;
  if (c.pad >= 0)
    j["pad_token_id"] = c.pad;
  else if (c.architecture == "Phi3ForCausalLM" || c.architecture == "SmolLM3ForCausalLM")
    j["pad_token_id"] = nullptr;  // else transformers takes the number of the largest model's vocabulary
  j.update(extra);
  return j;
}

}  // namespace cai
