// Families that are not plain Llama, and stretched rotary frequencies, against transformers
// (tests/golden/families.py): logits, gradients, config files.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cai/base/error.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;
const fs::path kGolden = fs::path(CAI_SOURCE_DIR) / "tests/model/golden";

struct Folder {
  fs::path path = fs::temp_directory_path() / ("cai-families-" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

Json read_json(const fs::path& file) {
  return parse_json(read_file(file), file.string());
}

// sum(x cos(0, 1, ...)).
at::Tensor weighed(const at::Tensor& x) {
  return (x.to(at::kDouble).reshape(-1) * at::arange(x.numel(), at::kDouble).cos()).sum();
}

// The largest difference from the golden logits of the last token of each sequence of up to `longest` tokens,
// all in one pack.
double difference(const Llama& model, const Json& sequences, const Json& golden, std::size_t longest) {
  const at::NoGradGuard no_gradients;
  const auto all = sequences.get<std::vector<std::vector<int>>>();
  const Packed packed = pack(all);
  const at::Tensor ours = logits(model, packed);
  double most = 0;
  for (std::size_t s = 0; s < all.size(); ++s) {
    if (all[s].size() > longest) continue;
    const auto expected = golden[s].get<std::vector<float>>();
    EXPECT_EQ(static_cast<std::int64_t>(expected.size()), model.config.vocabulary);
    most =
        std::max(most, (ours[rows_of(packed, s).back()] - at::tensor(expected)).abs().max().item<double>());
  }
  return most;
}

class Family : public testing::TestWithParam<const char*> {
 protected:
  const fs::path folder = kGolden / "families" / GetParam();
  const Json golden = read_json(folder / "golden.json");
};

TEST_P(Family, HasTheLogitsOfTransformers) {
  const double found = difference(*load_llama(folder), golden["sequences"], golden["last_logits"], 1000);
  RecordProperty("largest_difference", std::to_string(found));
  EXPECT_LT(found, 2e-4);
}

// Every weight's gradient, through the hand-written backward passes too.
TEST_P(Family, HasTheGradientsOfTransformers) {
  const auto model = load_llama(folder);
  model->embedding.requires_grad_(true), model->head.requires_grad_(true);
  const auto weights = model->named_weights();
  for (const auto& [name, w] : weights)
    w.requires_grad_(true);
  weighed(logits(*model, pack({golden["sequences"][2].get<std::vector<int>>()}))).backward();
  EXPECT_EQ(weights.size(), golden["gradients"].size());
  for (const auto& [name, w] : weights) {
    const double expected = golden["gradients"].at(name).get<double>(), size = w.grad().norm().item<double>();
    EXPECT_NEAR(weighed(w.grad()).item<double>(), expected, 1e-4 * std::max(1.0, size)) << name;
  }
}

// In bfloat16 products round, nothing else: the same gradients within a few parts in a hundred.
TEST_P(Family, HasTheSameGradientsInBfloat16) {
  std::vector<std::vector<at::Tensor>> gradients;
  for (const bool bfloat16 : {false, true}) {
    const auto model = load_llama(folder, {.bfloat16 = bfloat16});
    gradients.emplace_back();
    const auto weights = model->named_weights();
    for (const auto& [name, w] : weights)
      w.requires_grad_(true);
    const Packed packed = pack(
        {golden["sequences"][2].get<std::vector<int>>(), golden["sequences"][1].get<std::vector<int>>()});
    const at::Tensor states = head_states(
        *model, run_layers(*model, embed(*model, packed.tokens), packed, 0, model->config.layers));
    weighed(states).backward();
    for (const auto& [name, w] : weights)
      if (name != "lm_head.weight") gradients.back().push_back(w.grad().reshape(-1));
  }
  const at::Tensor exact = at::cat(gradients[0]), rounded = at::cat(gradients[1]);
  EXPECT_GT(exact.norm().item<double>(), 0.1);
  EXPECT_LT((rounded - exact).norm().item<double>(), 0.05 * exact.norm().item<double>());
}

TEST_P(Family, IsTheSameAfterSaving) {
  const Folder saved;
  const auto model = load_llama(folder);
  const std::string hash = save_llama(*model, saved.path);
  const auto again = load_llama(saved.path);
  const auto a = model->named_weights(), b = again->named_weights();
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_TRUE(a[i].first == b[i].first && at::equal(a[i].second, b[i].second)) << a[i].first;
  EXPECT_EQ(to_hf_json(again->config, "float32"), to_hf_json(model->config, "float32"));
  EXPECT_EQ(save_llama(*again, saved.path), hash);
  EXPECT_LT(difference(*again, golden["sequences"], golden["last_logits"], 1000), 2e-4);
}

// The golden models are such that each switch shows: without it their logits are others.
TEST(Families, EachSwitchMatters) {
  struct Switch {
    const char *family, *name;
    void (*undo)(ModelConfig&);
  };
  const Switch switches[] = {
      {"phi3", "rotary width", [](ModelConfig& c) { c.rotary_width = 0, c.rope_scaling = {}; }},
      {"phi3", "longrope", [](ModelConfig& c) { c.rope_scaling = {}; }},
      {"phi3", "window", [](ModelConfig& c) { c.sliding_window = 0; }},
      {"smollm3", "layers that do not rotate", [](ModelConfig& c) { c.rotated.clear(); }},
      {"gemma", "embedding scale", [](ModelConfig& c) { c.embedding_scale = 1; }},
      {"gemma", "activation", [](ModelConfig& c) { c.gelu = false; }},
      {"gemma2", "attention scale", [](ModelConfig& c) { c.attention_scale = 0; }},
      {"gemma2", "attention cap", [](ModelConfig& c) { c.attention_cap = 0; }},
      {"gemma2", "logit cap", [](ModelConfig& c) { c.logit_cap = 0; }},
      {"gemma2", "norms after", [](ModelConfig& c) { c.norms_after = false; }},
      {"gemma3", "windowed layers", [](ModelConfig& c) { c.windowed.clear(); }},
      {"gemma3", "base of windowed layers", [](ModelConfig& c) { c.window_rope_base = 0; }},
      {"olmo2", "norms after", [](ModelConfig& c) { c.norms_after = false; }},
      {"olmo3", "yarn", [](ModelConfig& c) { c.rope_scaling = {}; }},
      {"granite", "residual scale", [](ModelConfig& c) { c.residual_scale = 1; }},
      {"granite", "logit divisor", [](ModelConfig& c) { c.logit_divisor = 1; }},
      {"qwen3-upper-windows", "windowed layers", [](ModelConfig& c) { c.windowed.clear(); }}};
  for (const auto& [family, name, undo] : switches) {
    const Json golden = read_json(kGolden / "families" / family / "golden.json");
    const auto model = load_llama(kGolden / "families" / family);
    undo(model->config);
    EXPECT_GT(difference(*model, golden["sequences"], golden["last_logits"], 1000), 1e-2)
        << family << " " << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Family,
                         testing::Values("phi3", "smollm3", "gemma", "gemma2", "gemma3", "olmo2", "olmo3",
                                         "granite", "qwen3-upper-windows", "qwen2-windows"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// Each kind of rope scaling, as config.json says it now and as it did before, and after saving.
TEST(Rope, HasTheLogitsOfTransformersForEachKind) {
  const Json golden = read_json(kGolden / "ropes.json");
  const Folder saved;
  fs::copy(kGolden / "llama-tied/model.safetensors", saved.path / "model.safetensors");
  for (const auto& [name, kind] : golden["kinds"].items())
    for (const char* field : {"rope_parameters", "rope_scaling"}) {
      Json config = read_json(kGolden / "llama-tied/config.json");
      config.erase("rope_parameters");
      config["rope_theta"] = 1e4, config[field] = kind["rope"];
      write_file(saved.path / "config.json", config.dump());
      const auto model = load_llama(saved.path);
      EXPECT_LT(difference(*model, golden["sequences"], kind["last_logits"],
                           static_cast<std::size_t>(model->config.context)),
                2e-4)
          << name;
      if (std::string_view(field) == "rope_scaling") continue;
      save_llama(*model, saved.path);
      const auto again = load_llama(saved.path);
      EXPECT_EQ(to_hf_json(again->config, "float32"), to_hf_json(model->config, "float32")) << name;
      EXPECT_LT(difference(*again, golden["sequences"], kind["last_logits"],
                           static_cast<std::size_t>(model->config.context)),
                2e-4)
          << name;
    }
}

Json with(const char* base, const Json& changes) {
  Json config = read_json(kGolden / base / "config.json");
  config.update(changes);
  return config;
}

// Past original_max_position_embeddings longrope takes other frequencies from the first token on: texts end
// there, and files say what they said.
TEST(Rope, LongropeReadsAsFarAsItsShortFactorsGo) {
  const Json config = with("llama-tied", {{"rope_parameters",
                                           {{"rope_type", "longrope"},
                                            {"short_factor", {1.0, 2.0}},
                                            {"long_factor", {3.0, 4.0}},
                                            {"original_max_position_embeddings", 64}}}});
  const ModelConfig c = parse_model_config(config, "config.json");
  EXPECT_EQ(c.context, 64);
  EXPECT_EQ(to_hf_json(c, "float32")["max_position_embeddings"], 256);
  EXPECT_EQ(to_hf_json(parse_model_config(to_hf_json(c, "float32"), ""), "float32"),
            to_hf_json(c, "float32"));
}

// transformers windows the layers from max_window_layers on, 28 where the file does not say, and none without
// use_sliding_window.
TEST(Config, WindowsTheLayersOfQwenThatTransformersDoes) {
  const auto windows_of = [](const Json& changes) {
    const ModelConfig c = parse_model_config(with("families/qwen2-windows", changes), "config.json");
    const ModelConfig again = parse_model_config(to_hf_json(c, "float32"), "saved");
    std::string windows;
    for (std::int64_t i = 0; i < c.layers; ++i) {
      windows += std::to_string(c.window_of(i)) + " ";
      EXPECT_EQ(again.window_of(i), c.window_of(i));
    }
    return windows;
  };
  const Json none;
  EXPECT_EQ(windows_of(Json::object()), "6 6 ");
  EXPECT_EQ(windows_of({{"layer_types", none}, {"max_window_layers", 0}}), "6 6 ");
  EXPECT_EQ(windows_of({{"layer_types", none}, {"max_window_layers", 1}}), "0 6 ");
  EXPECT_EQ(windows_of({{"layer_types", none}, {"max_window_layers", none}}), "0 0 ");
  EXPECT_EQ(
      windows_of({{"layer_types", none}, {"max_window_layers", none}, {"num_hidden_layers", 29}}).substr(54),
      "0 6 ");
  EXPECT_EQ(windows_of({{"layer_types", {"sliding_attention", "full_attention"}}}), "6 0 ");
  EXPECT_EQ(
      windows_of({{"use_sliding_window", false}, {"layer_types", {"sliding_attention", "full_attention"}}}),
      "0 0 ");
}

std::string refusal(const Json& config) {
  try {
    parse_model_config(config, "config.json");
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

TEST(Config, SaysWhatIsNotReadAndWhatIsNearest) {
  const auto of = [](const char* architecture) {
    return refusal(with("llama-tied", {{"architectures", {architecture}}}));
  };
  EXPECT_NE(of("Qwen3MoeForCausalLM")
                .find("\"Qwen3MoeForCausalLM\" (a mixture of experts) is not read; the nearest that is: "
                      "Qwen3ForCausalLM; accepted: LlamaForCausalLM, "),
            std::string::npos)
      << of("Qwen3MoeForCausalLM");
  EXPECT_NE(
      of("Gemma3ForConditionalGeneration")
          .find("more than text, or with an encoder) is not read; the nearest that is: Gemma3ForCausalLM"),
      std::string::npos)
      << of("Gemma3ForConditionalGeneration");
  EXPECT_NE(of("FalconH1ForCausalLM").find("(a state-space hybrid) is not read; accepted: "),
            std::string::npos)
      << of("FalconH1ForCausalLM");
  EXPECT_NE(of("Llama4ForCausalLM").find("the nearest that is: LlamaForCausalLM"), std::string::npos);
  EXPECT_NE(
      refusal(with("families/gemma2", {{"hidden_activation", "relu"}})).find("accepted: gelu_pytorch_tanh"),
      std::string::npos);
  EXPECT_NE(refusal(with("families/gemma2", {{"layer_types", {"sliding_attention", "chunked_attention"}}}))
                .find("layer_types \"chunked_attention\"; accepted"),
            std::string::npos);
  EXPECT_NE(refusal(with("llama-tied", {{"rope_parameters", {{"rope_type", "spiral"}}}}))
                .find("accepted: default, dynamic, linear, llama3, longrope, yarn"),
            std::string::npos);
  EXPECT_NE(refusal(with("llama-tied",
                         {{"rope_parameters",
                           {{"rope_type", "longrope"}, {"short_factor", {1.0}}, {"long_factor", {1.0}}}}}))
                .find("needs 2 positive numbers"),
            std::string::npos);
  EXPECT_NE(
      refusal(with("llama-tied", {{"partial_rotary_factor", 0.5}})).find("accepted of Phi3ForCausalLM only"),
      std::string::npos);
}

}  // namespace
}  // namespace cai
