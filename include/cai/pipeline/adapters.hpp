// Adapters that stages trained, given to the outside.
#pragma once

#include <filesystem>
#include <string>

namespace cai {

struct ExportedAdapter {
  std::string sha256;  // of adapter_model.safetensors
  std::string base;    // the model that it is for, as adapter_config.json names it
};

/// Writes the adapter that a checkpoint was trained with as a PEFT folder. Where the model that it was
/// trained on came from an adapter too (fine-tuning before reinforcement learning), the two become one for
/// the first model: their matrices side by side, which adds the same. Throws InputError where the checkpoint
/// was trained without one.
ExportedAdapter export_adapter(const std::filesystem::path& checkpoint, const std::filesystem::path& out);

/// What a packaged model is called where it came from; of any other its absolute path.
std::string hub_name(const std::filesystem::path& model);

}  // namespace cai
