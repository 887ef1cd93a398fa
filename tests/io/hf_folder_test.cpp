// Model folders as people have them: each fault is told with what to do about it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>

#include "cai/base/error.hpp"
#include "cai/io/file.hpp"
#include "cai/io/hf_folder.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

struct HfFolder : testing::Test {
  fs::path folder = fs::temp_directory_path() / ("cai-folder-" + std::to_string(getpid()));
  HfFolder() { fs::create_directories(folder); }
  ~HfFolder() override { fs::remove_all(folder); }

  void put(const std::string& name, const std::string& bytes = "") const { write_file(folder / name, bytes); }

  void put_tensors(const std::string& file, const std::vector<std::string>& names) const {
    static const float value = 1;
    std::vector<SafeTensor> tensors;
    for (const std::string& name : names)
      tensors.push_back({name, "F32", {1}, {reinterpret_cast<const std::byte*>(&value), 4}});
    write_safetensors(folder / file, tensors, {});
  }

  std::string refused() const {
    try {
      if (gguf_of_model(folder).empty()) read_hf_tensors(folder);
    } catch (const InputError& e) {
      return e.what();
    }
    return "accepted";
  }

  void expect_refused(const std::string& part) const {
    EXPECT_NE(refused().find(part), std::string::npos) << refused();
  }

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [file, t] : read_hf_tensors(folder).tensors)
      all.push_back(t.name);
    return all;
  }
};

TEST_F(HfFolder, WithoutAModelIsRefused) {
  expect_refused("neither config.json nor a .gguf file here");
  put("config.json", "{}");
  expect_refused("neither model.safetensors nor model.safetensors.index.json here");
  put("model-00001-of-00002.safetensors");
  expect_refused("model.safetensors.index.json is missing");
}

TEST_F(HfFolder, WithPytorchWeightsOnlySaysHowToConvertThem) {
  put("config.json", "{}");
  for (const char* name : {"pytorch_model.bin", "pytorch_model-00001-of-00002.bin"}) {
    put(name);
    expect_refused("make safetensors of it: python -c \"import sys, transformers");
    fs::remove(folder / name);
  }
}

TEST_F(HfFolder, WithQuantisedWeightsIsRefused) {
  put_tensors("model.safetensors", {"model.norm.weight"});
  for (const char* method : {"fp8", "gptq", "awq", "bitsandbytes", "compressed-tensors"}) {
    put("config.json", R"({"quantization_config": {"quant_method": ")" + std::string(method) + "\"}}");
    expect_refused("config.json: quantization_config (" + std::string(method) +
                   "): quantised safetensors are not read; give the original");
  }
  put("config.json", R"({"quantization_config": null})");
  EXPECT_EQ(refused(), "accepted");
}

TEST_F(HfFolder, NamesItsMissingShards) {
  put("config.json", "{}");
  put("model.safetensors.index.json",
      R"({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-3.safetensors"}})");
  put_tensors("model-1.safetensors", {"a"});
  expect_refused("2 of the 3 files that it names are missing here: model-2.safetensors, model-3.safetensors");
  put_tensors("model-2.safetensors", {"b"});
  expect_refused("1 of the 3 files that it names is missing here: model-3.safetensors");
  put_tensors("model-3.safetensors", {"a"});
  expect_refused("duplicate tensor \"a\"");
  put_tensors("model-3.safetensors", {"c"});
  EXPECT_EQ(names(), (std::vector<std::string>{"a", "b", "c"}));
}

TEST_F(HfFolder, OfAGitWithoutItsLargeFilesSaysSo) {
  put("config.json", "{}");
  put("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
  expect_refused("is a Git LFS pointer, not the file itself; fetch it with: git lfs pull");
}

TEST_F(HfFolder, GivesTensorsTheNamesOfTransformers) {
  put("config.json", "{}");
  put_tensors("model.safetensors", {"_orig_mod.model.norm.weight", "module._orig_mod.lm_head.weight",
                                    "model.layers.0._orig_mod.mlp.up_proj.weight",
                                    "model.layers.0.self_attn.rotary_emb.inv_freq"});
  EXPECT_EQ(names(), (std::vector<std::string>{"model.norm.weight", "model.layers.0.mlp.up_proj.weight",
                                               "lm_head.weight"}));
  put_tensors("model.safetensors", {"embed_tokens.weight", "layers.0.mlp.up_proj.weight", "norm.weight"});
  EXPECT_EQ(names(), (std::vector<std::string>{"model.embed_tokens.weight",
                                               "model.layers.0.mlp.up_proj.weight", "model.norm.weight"}));
}

TEST_F(HfFolder, MayHoldAGgufFileBesideItsConfig) {
  put("config.json", "{}");
  put("m.gguf");
  EXPECT_EQ(gguf_of_model(folder), folder / "m.gguf");
  put_tensors("model.safetensors", {"a"});
  EXPECT_EQ(gguf_of_model(folder), "");
}

}  // namespace
}  // namespace cai
