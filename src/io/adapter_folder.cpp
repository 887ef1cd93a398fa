#include "cai/io/adapter_folder.hpp"

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"

namespace cai {

namespace fs = std::filesystem;

namespace {

constexpr const char* kConfig = "adapter_config.json";

}  // namespace

bool is_adapter_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path / kConfig, ignored) && !fs::exists(path / "config.json", ignored);
}

std::string named_base(const fs::path& adapter) {
  const std::string file = (adapter / kConfig).string();
  const Json json = parse_json(read_file(file), file);
  const auto base = json.is_object() ? json.find("base_model_name_or_path") : json.end();
  return base != json.end() && base->is_string() ? base->get<std::string>() : "";
}

// A file, or a folder of a model or of an adapter.
bool is_model(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) || fs::exists(path / "config.json", ignored) ||
         fs::exists(path / "adapter_config.json", ignored);
}

std::optional<fs::path> found_base(const fs::path& adapter) {
  const std::string name = named_base(adapter);
  std::error_code ignored;
  if (name.empty()) return std::nullopt;
  for (const fs::path& path : {adapter / name, fs::path(name)})  // an absolute name is itself both times
    if (is_model(path) && !fs::equivalent(path, adapter, ignored)) return path.lexically_normal();
  return std::nullopt;
}

std::optional<ModelParts> base_and_adapter(const std::string& model) {
  std::error_code ignored;
  if (fs::exists(model, ignored)) return std::nullopt;
  const std::size_t plus = model.rfind('+');
  if (plus == model.npos || plus == 0) return std::nullopt;
  const fs::path adapter = model.substr(plus + 1);
  if (!is_adapter_folder(adapter)) return std::nullopt;
  return ModelParts{model.substr(0, plus), adapter};
}

ModelParts parts_of_model(const fs::path& model) {
  if (const auto parts = base_and_adapter(model.string())) return *parts;
  if (!is_adapter_folder(model)) return {model, {}};
  const std::optional<fs::path> base = found_base(model);
  if (base) return {*base, model};
  const std::string name = named_base(model);
  throw InputError(model.string(), 0,
                   "a LoRA adapter whose base model is not here (base_model_name_or_path: " +
                       (name.empty() ? "nothing" : in_quotes(name)) + "); name it: --model BASE+" +
                       model.string());
}

}  // namespace cai
