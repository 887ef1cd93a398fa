// What a path of a LoRA adapter stands for.
#include "cai/io/adapter_folder.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

class AdapterFolder : public testing::Test {
 protected:
  AdapterFolder() {
    fs::create_directories(adapter), fs::create_directories(base);
    std::ofstream(base / "config.json") << "{}";
  }
  ~AdapterFolder() override { fs::remove_all(folder); }

  void name_base(const std::string& json) const {
    std::ofstream(adapter / "adapter_config.json") << "{\"base_model_name_or_path\": " << json << "}";
  }
  std::string refused(const fs::path& path) const {
    try {
      parts_of_model(path);
    } catch (const InputError& e) {
      return e.what();
    }
    return "accepted";
  }

  const fs::path folder = fs::temp_directory_path() / ("cai-adapters-" + std::to_string(getpid()));
  const fs::path adapter = folder / "stage" / "adapter", base = folder / "base";
};

TEST_F(AdapterFolder, StandsForTheModelThatItNamesWithItself) {
  for (const std::string& name : {std::string("../../base"), base.string()}) {
    name_base(in_quotes(name));
    const ModelParts parts = parts_of_model(adapter);
    EXPECT_TRUE(fs::equivalent(parts.base, base)) << name;
    EXPECT_EQ(parts.adapter, adapter);
  }
}

TEST_F(AdapterFolder, CanBePutOnAnotherModel) {
  name_base("\"somebody/a-model\"");
  const ModelParts parts = parts_of_model(base.string() + "+" + adapter.string());
  EXPECT_EQ(parts.base, base);
  EXPECT_EQ(parts.adapter, adapter);
}

TEST_F(AdapterFolder, AnyOtherPathStandsForItself) {
  fs::create_directories(folder / "a+b");
  std::ofstream(adapter / "config.json") << "{}";  // a whole model with its adapter beside it
  name_base("null");
  for (const fs::path& path : {base, folder / "a+b", folder / "nothing",
                               fs::path(base.string() + "+" + base.string()), fs::path("smollm2"), adapter}) {
    EXPECT_EQ(parts_of_model(path).base, path);
    EXPECT_TRUE(parts_of_model(path).adapter.empty());
  }
}

TEST_F(AdapterFolder, WithoutItsBaseModelSaysHowToNameOne) {
  for (const std::string name : {"\"somebody/a-model\"", "null", "\"\"", "\".\"", "3"}) {
    name_base(name);
    const std::string message = refused(adapter);
    EXPECT_NE(message.find("whose base model is not here"), std::string::npos) << name << ": " << message;
    EXPECT_NE(message.find("--model BASE+" + adapter.string()), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace cai
