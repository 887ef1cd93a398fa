#include "cai/model/config.hpp"

#include <algorithm>
#include <cmath>

#include "cai/base/error.hpp"
#include "cai/io/file.hpp"
#include "cai/io/adapter_folder.hpp"
#include "cai/io/hf_folder.hpp"

namespace cai {
namespace {

// Complaints of one file.
struct Checks {
  const std::string& file;

  void need(bool ok, const std::string& what) const {
    if (!ok) throw InputError(file, 0, what);
  }
  void in(const char* name, std::int64_t v, std::int64_t most) const {
    need(v >= 1 && v <= most,
         std::string(name) + " is " + std::to_string(v) + "; accepted: 1 to " + std::to_string(most));
  }
  void positive(const char* name, double v) const {
    need(std::isfinite(v) && v > 0, std::string(name) + " is not a positive number");
  }
};

void check_scaling(const ModelConfig& c, const Checks& checks) {
  const RopeScaling& s = c.rope_scaling;
  checks.need(s.factor >= 1 && s.factor <= 1e6,
              "the factor of the rope scaling is not between 1 and 1000000");
  checks.need(s.attention_factor >= 0 && s.attention_factor <= 1e6,
              "attention_factor of the rope scaling is not between 0 and 1000000");
  if (s.kind == RopeKind::kLlama3 || s.kind == RopeKind::kYarn || s.kind == RopeKind::kLongrope)
    checks.in("original_max_position_embeddings", s.original_context, 1 << 26);
  if (s.kind == RopeKind::kLlama3)
    checks.need(s.low_frequency_factor > 0 && s.high_frequency_factor > s.low_frequency_factor &&
                    s.high_frequency_factor <= 1e6,
                "the rope scaling needs 0 < low_freq_factor < high_freq_factor");
  checks.need(s.kind != RopeKind::kYarn || c.rope_base > 1,
              "rope_theta is not above 1, as a rope scaling of kind yarn needs");
  checks.need(s.kind != RopeKind::kLongrope || s.original_context > 1,
              "original_max_position_embeddings is 1");
  if (s.kind == RopeKind::kYarn)
    checks.need(s.beta_slow > 0 && s.beta_fast > s.beta_slow && s.beta_fast <= 1e6,
                "the rope scaling needs 0 < beta_slow < beta_fast");
  if (s.kind != RopeKind::kLongrope) return;
  for (const auto* factors : {&s.short_factors, &s.long_factors})
    checks.need(static_cast<std::int64_t>(factors->size()) == c.rotary() / 2 &&
                    std::all_of(factors->begin(), factors->end(), [](double f) { return f > 0 && f <= 1e6; }),
                "the rope scaling needs " + std::to_string(c.rotary() / 2) +
                    " positive numbers in short_factor and as many in long_factor");
}

}  // namespace

void check_model_config(const ModelConfig& c, const std::string& file) {
  const Checks checks{file};
  checks.in("the number of layers", c.layers, 1000), checks.in("the width", c.width, 1 << 20),
      checks.in("the number of heads", c.heads, 4096);
  checks.in("the number of key/value heads", c.kv_heads, 4096),
      checks.in("the head width", c.head_width, 4096),
      checks.in("the feed-forward width", c.ffn_width, 1 << 22);
  checks.in("the vocabulary", c.vocabulary, 1 << 24), checks.in("the context", c.context, 1 << 26);
  checks.need(c.heads % c.kv_heads == 0, "heads (" + std::to_string(c.heads) +
                                             ") is not a multiple of key/value heads (" +
                                             std::to_string(c.kv_heads) + ")");
  checks.need(c.head_width % 2 == 0, "the head width is odd");
  checks.need(c.rotary() > 0 && c.rotary() <= c.head_width && c.rotary() % 2 == 0,
              "the rotated part of a head is not an even number of dimensions up to the head width");
  checks.positive("rope_theta", c.rope_base),
      checks.need(std::isfinite(c.window_rope_base) && c.window_rope_base >= 0,
                  "rope_local_base_freq is negative");
  checks.need(c.norm_epsilon > 0 && c.norm_epsilon < 1, "rms_norm_eps is not between 0 and 1");
  check_scaling(c, checks);
  checks.in("the sliding window", std::max<std::int64_t>(c.sliding_window, 1), 1 << 26);
  checks.need(c.sliding_window >= 0, "the sliding window is negative");
  checks.positive("the scale of the embedding", c.embedding_scale),
      checks.positive("the scale of residuals", c.residual_scale),
      checks.positive("the scale of logits", c.logit_divisor);
  checks.need(std::isfinite(c.attention_scale) && c.attention_scale >= 0,
              "the scale of attention is negative");
  checks.need(c.attention_cap >= 0 && c.attention_cap <= 1e6 && c.logit_cap >= 0 && c.logit_cap <= 1e6,
              "a soft cap is not between 0 and 1000000");
}

ModelConfig read_model_config(const std::filesystem::path& path) {
  const std::filesystem::path model = parts_of_model(path).base;
  if (const auto gguf = gguf_of_model(model); !gguf.empty())
    return parse_model_config(read_gguf(gguf), gguf.string());
  hf_shards(model);  // what is wrong with the files is said before any work
  const std::string file = (model / "config.json").string();
  return parse_model_config(parse_json(read_file(file), file), file);
}

}  // namespace cai
