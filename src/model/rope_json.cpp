// Rotary settings in config.json.
#include <cmath>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/model/families.hpp"

namespace cai {
namespace {

const std::map<std::string, RopeKind> kKinds = {
    {"default", RopeKind::kNone},  {"linear", RopeKind::kLinear}, {"dynamic", RopeKind::kDynamic},
    {"llama3", RopeKind::kLlama3}, {"yarn", RopeKind::kYarn},     {"longrope", RopeKind::kLongrope}};

const char* name_of(RopeKind kind) {
  for (const auto& [name, k] : kKinds)
    if (k == kind) return name.c_str();
  throw Bug("a rope scaling without a name");
}

std::string accepted_kinds() {
  std::string all;
  for (const auto& [name, kind] : kKinds)
    all += (all.empty() ? "" : ", ") + name;
  return all;
}

RopeKind kind_in(const ConfigFields& r, bool is_phi3) {
  std::string name = r.text("rope_type", r.text("type", "default"));
  if (is_phi3 && (name == "su" || name == "yarn")) name = "longrope";  // its first files say so
  const auto kind = kKinds.find(name);
  if (kind == kKinds.end())
    throw InputError(r.file, 0, "rope scaling " + in_quotes(name) + "; accepted: " + accepted_kinds());
  return kind->second;
}

double mscale(double factor, double by) {
  return factor <= 1 ? 1 : 0.1 * by * std::log(factor) + 1;
}

// `r`: the fields of the scaling; `f`: those of the whole file.
RopeScaling scaling_in(const ConfigFields& r, const ConfigFields& f, const ModelConfig& c) {
  RopeScaling s;
  s.kind = kind_in(r, c.architecture == "Phi3ForCausalLM");
  if (s.kind == RopeKind::kNone) return s;
  const bool has_original =
      s.kind == RopeKind::kLlama3 || s.kind == RopeKind::kYarn || s.kind == RopeKind::kLongrope;
  if (has_original)
    s.original_context =
        f.whole("original_max_position_embeddings", r.whole("original_max_position_embeddings", c.context));
  const double stretch =
      s.original_context > 0 ? static_cast<double>(c.context) / static_cast<double>(s.original_context) : 1;
  s.factor = r.number("factor", s.kind == RopeKind::kLlama3     ? 8
                                : s.kind == RopeKind::kLongrope ? std::max(1.0, stretch)
                                                                : stretch);
  s.low_frequency_factor = r.number("low_freq_factor", 1),
  s.high_frequency_factor = r.number("high_freq_factor", 4);
  s.beta_fast = r.number("beta_fast", 32), s.beta_slow = r.number("beta_slow", 1),
  s.truncates = r.flag("truncate", true);
  s.attention_factor = r.number("attention_factor", 0);
  const double once = r.number("mscale", 0), all = r.number("mscale_all_dim", 0);
  if (s.attention_factor == 0 && s.kind == RopeKind::kYarn && once != 0 && all != 0)
    s.attention_factor = mscale(s.factor, once) / mscale(s.factor, all);
  if (s.kind == RopeKind::kLongrope)
    s.short_factors = r.numbers("short_factor"), s.long_factors = r.numbers("long_factor");
  return s;
}

}  // namespace

void read_rope(const ConfigFields& f, const Family& family, ModelConfig& c) {
  // Newer files put rope_theta and the scaling together in rope_parameters, those of some families once for
  // each kind of layer.
  const Json none = Json::object(),
             *rope = f.find("rope_parameters") ? f.find("rope_parameters") : f.find("rope_scaling");
  if (rope && !rope->is_object())
    throw InputError(f.file, 0, "field \"rope_parameters\" or \"rope_scaling\" must be an object");
  if (!rope) rope = &none;
  const Json* windowed = nullptr;
  if (const auto full = rope->find("full_attention"); full != rope->end() && full->is_object()) {
    if (const auto sliding = rope->find("sliding_attention"); sliding != rope->end() && sliding->is_object())
      windowed = &*sliding;
    rope = &*full;
  }
  const ConfigFields r{*rope, f.file};
  c.rope_base = r.number("rope_theta", f.number("rope_theta", family.rope_base));
  c.rope_scaling = scaling_in(r, f, c);
  if (const double part = r.number("partial_rotary_factor", f.number("partial_rotary_factor", 1));
      part != 1) {
    if (c.architecture != "Phi3ForCausalLM")
      throw InputError(f.file, 0, "partial_rotary_factor is not 1; accepted of Phi3ForCausalLM only");
    if (!(part > 0 && part < 1)) throw InputError(f.file, 0, "partial_rotary_factor is not between 0 and 1");
    c.rotary_width = static_cast<std::int64_t>(static_cast<double>(c.head_width) * part);
  }
  if (c.architecture == "Gemma3ForCausalLM") c.window_rope_base = f.number("rope_local_base_freq", 1e4);
  if (c.architecture == "Olmo3ForCausalLM") c.window_rope_base = c.rope_base;
  if (windowed && c.window_rope_base > 0) {
    const ConfigFields w{*windowed, f.file};
    if (kind_in(w, false) != RopeKind::kNone)
      throw InputError(f.file, 0, "rope scaling of windowed layers is not supported");
    c.window_rope_base = w.number("rope_theta", c.window_rope_base);
  }
  const RopeScaling& s = c.rope_scaling;
  if (s.kind == RopeKind::kLongrope && s.short_factors != s.long_factors && s.original_context > 0 &&
      s.original_context < c.context) {
    c.file_context =
        c.context;  // longer texts would be read with other frequencies from their first token on
    c.context = s.original_context;
  }
}

void write_rope(const ModelConfig& c, Json& j) {
  const RopeScaling& s = c.rope_scaling;
  j["rope_theta"] = c.rope_base;
  if (c.architecture == "Gemma3ForCausalLM") j["rope_local_base_freq"] = c.window_rope_base;
  Json r = {{"rope_type", name_of(s.kind)}};
  if (s.kind != RopeKind::kNone) r["factor"] = s.factor;
  if (s.original_context > 0) r["original_max_position_embeddings"] = s.original_context;
  if (s.attention_factor > 0) r["attention_factor"] = s.attention_factor;
  if (s.kind == RopeKind::kLlama3)
    r["low_freq_factor"] = s.low_frequency_factor, r["high_freq_factor"] = s.high_frequency_factor;
  if (s.kind == RopeKind::kYarn) r["beta_fast"] = s.beta_fast, r["beta_slow"] = s.beta_slow;
  if (s.kind == RopeKind::kYarn && !s.truncates) r["truncate"] = false;
  if (s.kind == RopeKind::kLongrope) r["short_factor"] = s.short_factors, r["long_factor"] = s.long_factors;
  if (s.kind != RopeKind::kNone) j["rope_scaling"] = r;
  if (c.architecture != "Olmo3ForCausalLM") return;
  r["rope_theta"] = c.rope_base;  // it reads the older form with another base for windowed layers
  j.erase("rope_theta"), j.erase("rope_scaling");
  j["rope_parameters"] = {
      {"full_attention", r},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", c.window_rope_base}}}};
}

}  // namespace cai
