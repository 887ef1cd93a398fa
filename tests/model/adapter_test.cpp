// LoRA adapters that PEFT wrote, against what it computes with them (tests/golden/adapters.py).
#include "cai/model/adapter.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "cai/base/error.hpp"
#include "cai/config/lora.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/io/safetensors.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;
const fs::path kGolden = fs::path(CAI_SOURCE_DIR) / "tests/model/golden";

struct Folder {
  fs::path path = fs::temp_directory_path() / ("cai-adapter-" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

Json read_json(const fs::path& file) {
  return parse_json(read_file(file), file.string());
}

// Of the last token of each sequence: logits, or the score where there is one.
std::vector<at::Tensor> last_of(const Llama& model, const at::Tensor& score, const Json& sequences) {
  const at::NoGradGuard no_gradients;
  const Packed packed = pack(sequences.get<std::vector<std::vector<int>>>());
  const at::Tensor hidden = run_layers(model, embed(model, packed.tokens), packed, 0, model.config.layers);
  const at::Tensor all =
      score.defined() ? at::linear(final_norm(model, hidden), score) : logits(model, packed);
  std::vector<at::Tensor> last;
  for (std::size_t s = 0; s < sequences.size(); ++s)
    last.push_back(all[rows_of(packed, s).back()]);
  return last;
}

double difference(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, (a[i] - b[i]).abs().max().item<double>());
  return most;
}

class Adapter : public testing::TestWithParam<const char*> {
 protected:
  const fs::path folder = kGolden / "adapters" / GetParam();
  const Json golden = read_json(folder / "golden.json");
  const fs::path base = kGolden / golden["base"].get<std::string>();
};

TEST_P(Adapter, HasTheLogitsOfPeft) {
  const auto model = load_llama(base);
  const at::Tensor score = load_adapter(*model, folder);
  EXPECT_EQ(score.defined(), read_adapter_base(folder).has_score);
  std::vector<at::Tensor> expected;
  for (const Json& last : golden["last_logits"])
    expected.push_back(at::tensor(last.get<std::vector<float>>(), at::kFloat));
  const auto found = last_of(*model, score, golden["sequences"]);
  EXPECT_LT(difference(found, expected), 2e-4);
  EXPECT_LT(difference(last_of(merged(*model), score, golden["sequences"]), expected), 2e-4);
  const auto plain = load_llama(base);
  EXPECT_GT(difference(last_of(*plain, score, golden["sequences"]), expected), 1e-2);  // it adds something
  for (LlamaLayer& layer : model->layers)
    layer.adapter = nullptr;
  EXPECT_EQ(
      difference(last_of(*model, score, golden["sequences"]), last_of(*plain, score, golden["sequences"])),
      0);
}

TEST_P(Adapter, IsTheSameAfterSaving) {
  const Folder saved;
  const auto model = load_llama(base), again = load_llama(base);
  const at::Tensor score = load_adapter(*model, folder);
  const std::string hash = save_adapter(*model, score, "the base", saved.path);
  EXPECT_EQ(read_adapter_base(saved.path).model, "the base");
  const at::Tensor score_again = load_adapter(*again, saved.path);
  EXPECT_EQ(difference(last_of(*again, score_again, golden["sequences"]),
                       last_of(*model, score, golden["sequences"])),
            0);
  std::set<std::string> names, expected;
  for (const SafeTensor& t : read_safetensors(saved.path / "adapter_model.safetensors").tensors)
    names.insert(t.name);
  for (const SafeTensor& t : read_safetensors(folder / "adapter_model.safetensors").tensors)
    expected.insert(t.name);
  EXPECT_EQ(names, expected);
  EXPECT_EQ(save_adapter(*again, score_again, "the base", saved.path), hash);
}

INSTANTIATE_TEST_SUITE_P(All, Adapter,
                         testing::Values("llama", "llama-top", "qwen2", "phi3", "gemma2", "reward"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(NewAdapter, BeginsAsTheModelAndSitsOnTheLayersAndMatricesThatWereAsked) {
  for (const char* base : {"llama-tied", "families/phi3", "families/gemma2"}) {
    const auto model = load_llama(kGolden / base), plain = load_llama(kGolden / base);
    const Json sequences = {{5, 9, 13}, {4, 7}};
    for (const std::string targets : {"all", "attention", "mlp"}) {
      add_adapter(*model, {.rank = 3, .layers = 1, .targets = targets}, 1);
      EXPECT_EQ(difference(last_of(*model, {}, sequences), last_of(*plain, {}, sequences)), 0) << base;
      EXPECT_EQ(model->layers[0].adapter, nullptr);
      const LayerAdapter& adapter = *model->layers.back().adapter;
      EXPECT_EQ(adapter.q.a.defined(), targets != "mlp");
      EXPECT_EQ(adapter.o.a.defined(), targets != "mlp");
      EXPECT_EQ(adapter.down.a.defined(), targets != "attention");
      const LowRank& one = targets == "mlp" ? adapter.up : adapter.v;
      EXPECT_EQ(one.scale, 2);
      const double bound = 1 / std::sqrt(static_cast<double>(model->config.width));
      EXPECT_LE(one.a.abs().max().item<double>(), bound);
      EXPECT_GT(one.a.abs().max().item<double>(), bound / 2);
    }
  }
}

TEST(NewAdapter, AddsLessHalfWayBackToTheModelFromBefore) {
  const auto model = load_llama(kGolden / "llama-tied"), plain = load_llama(kGolden / "llama-tied");
  load_adapter(*model, kGolden / "adapters/llama");
  const at::Tensor before = plain->layers[1].q, after = merged(*model).layers[1].q;
  move_towards(*model, *plain, 0.25);
  EXPECT_TRUE(at::allclose(merged(*model).layers[1].q, before + 0.75 * (after - before), 1e-5, 1e-6));
  EXPECT_TRUE(at::equal(model->layers[1].q, before));
}

TEST(NewAdapter, ACopyOfTheModelHasItsOwn) {
  const auto model = load_llama(kGolden / "llama-tied");
  add_adapter(*model, {.rank = 2}, 1);
  const Llama copy = model->clone(), shared = *model;
  adapter_weights(*model).front().second.fill_(7);
  EXPECT_NE(adapter_weights(copy).front().second[0][0].item<float>(), 7);
  EXPECT_EQ(adapter_weights(shared).front().second[0][0].item<float>(), 7);
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

// Plain Llama's layers in bfloat16 have steps of their own, other families' are those of float32.
TEST(NewAdapter, LearnsInBFloat16AsInFloat32) {
  for (const auto& [base, targets] :
       {std::pair("llama-tied", "all"), std::pair("qwen2-bias", "attention"), std::pair("llama-tied", "mlp"),
        std::pair("families/phi3", "all"), std::pair("families/gemma2", "all")}) {
    const Packed packed = pack({{5, 9, 13, 4, 30, 7, 1, 2, 3, 11}, {5, 9, 13, 4, 30, 7, 1, 2, 3, 4, 5, 6}});
    std::vector<std::vector<at::Tensor>> results;
    for (const bool bfloat16 : {false, true}) {
      const auto model = load_llama(kGolden / base, {.bfloat16 = bfloat16});
      at::manual_seed(4);
      const at::Tensor slopes = at::randn({packed.tokens.size(0), model->config.width});
      add_adapter(*model, {.rank = 3, .alpha = 5, .layers = 2, .targets = targets}, 1);
      const auto weights = adapter_weights(*model);
      for (const auto& [name, w] : weights) {
        if (name.ends_with("lora_B.weight")) w.normal_(0, 0.3);
        w.requires_grad_(true);
      }
      const at::Tensor hidden =
          run_layers(*model, embed(*model, packed.tokens), packed, 0, model->config.layers);
      (hidden * slopes).sum().backward();
      results.push_back({hidden.detach()});
      for (const auto& [name, w] : weights) {
        ASSERT_TRUE(w.grad().defined()) << base << " " << name;
        results.back().push_back(w.grad());
      }
    }
    EXPECT_GT(distance(results[1][0], results[0][0]), 0);                // it is another arithmetic
    const double most = base == std::string("qwen2-bias") ? 0.1 : 0.05;  // its biases are large
    for (std::size_t i = 0; i < results[0].size(); ++i)
      EXPECT_LT(distance(results[1][i], results[0][i]), most) << base << " " << targets << " " << i;
  }
}

TEST(NewAdapter, InBFloat16BeginsAsTheModelToo) {
  for (const char* base : {"llama-tied", "families/phi3"}) {
    const auto model = load_llama(kGolden / base, {.bfloat16 = true}),
               plain = load_llama(kGolden / base, {.bfloat16 = true});
    add_adapter(*model, {.rank = 3}, 1);
    const Json sequences = {{5, 9, 13}, {4, 7}};
    EXPECT_EQ(difference(last_of(*model, {}, sequences), last_of(*plain, {}, sequences)), 0) << base;
  }
}

TEST(AdapterFiles, WhatIsNotReadIsNamed) {
  const Folder folder;
  const fs::path golden = kGolden / "adapters/llama";
  const auto message_of = [&](const char* base) {
    try {
      load_adapter(*load_llama(kGolden / base), folder.path);
    } catch (const InputError& e) {
      return std::string(e.what());
    }
    return std::string("nothing");
  };
  EXPECT_NE(message_of("llama-tied").find("no adapter_config.json"), std::string::npos);
  const Json config = read_json(golden / "adapter_config.json");
  write_file(folder.path / "adapter_config.json", config.dump());
  EXPECT_NE(message_of("llama-tied").find("no adapter_model.safetensors"), std::string::npos);
  write_file(folder.path / "adapter_model.bin", "");
  EXPECT_NE(message_of("llama-tied").find("adapter_model.bin"), std::string::npos);
  fs::copy(golden / "adapter_model.safetensors", folder.path);
  EXPECT_EQ(message_of("llama-tied"), "nothing");
  const std::vector<std::pair<std::string, Json>> refused = {
      {"peft_type", "IA3"},        {"task_type", "SEQ_2_SEQ_LM"}, {"bias", "all"},
      {"use_dora", true},          {"fan_in_fan_out", true},      {"lora_bias", true},
      {"lora_alpha", "a lot"},     {"lora_alpha", nullptr},       {"layer_replication", {{0, 1}}},
      {"target_parameters", {"w"}}};
  for (const auto& [name, value] : refused) {
    Json changed = config;
    changed[name] = value;
    write_file(folder.path / "adapter_config.json", changed.dump());
    const std::string message = message_of("llama-tied");
    EXPECT_NE(message.find("adapter_config.json: " + name + ": found "), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
  write_file(folder.path / "adapter_config.json", config.dump());
  EXPECT_NE(message_of("families/phi3").find("is of no matrix of this base model"), std::string::npos);
  fs::remove(folder.path / "adapter_model.safetensors");
  fs::copy(kGolden / "adapters/phi3/adapter_model.safetensors", folder.path);
  EXPECT_NE(message_of("llama-tied").find("tensor"), std::string::npos) << message_of("llama-tied");
}

}  // namespace
}  // namespace cai
