#include "cai/model/config.hpp"

#include "fuzz.hpp"

FUZZ_TARGET(model_config) {
  using namespace cai;
  fuzz::refuses_or_works(
      [&] {
        const ModelConfig config = parse_model_config(parse_json(data, "config.json"), "config.json");
        fuzz::hold(config.heads > 0 && config.kv_heads > 0 && config.heads % config.kv_heads == 0 &&
                       config.layers > 0,
                   "an accepted shape can be computed with");
        // What is written is read back.
        parse_model_config(to_hf_json(config, "float32"), "config.json");
      },
      "config.json");
}
