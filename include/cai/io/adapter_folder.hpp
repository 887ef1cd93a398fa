// What a model's path stands for where it names a LoRA adapter: PEFT's folder, and the model that it is for.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace cai {

struct ModelParts {
  std::filesystem::path base;     // an HF folder, a .gguf file, or a folder that holds one
  std::filesystem::path adapter;  // empty: none
};

/// Whether a path is a folder with adapter_config.json and no model of its own.
bool is_adapter_folder(const std::filesystem::path& path);

/// base_model_name_or_path of a PEFT folder; may be empty.
std::string named_base(const std::filesystem::path& adapter);

/// Where that model is: the path itself, from the adapter's folder on or from here; nothing where there is
/// none.
std::optional<std::filesystem::path> found_base(const std::filesystem::path& adapter);

/// "BASE+ADAPTER" where that is no path and ADAPTER is a PEFT folder.
std::optional<ModelParts> base_and_adapter(const std::string& model);

/// A PEFT folder stands for the model that it names with the adapter on it, "BASE+ADAPTER" for another one
/// with it, any other path for itself. Throws InputError where the adapter's base model is not found.
ModelParts parts_of_model(const std::filesystem::path& model);

}  // namespace cai
