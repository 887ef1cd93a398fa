#include "cai/stages/trained_adapter.hpp"

#include <string>

#include "cai/model/adapter.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

// What adapter_config.json of folder/adapter names as the base model.
std::string base_name(const fs::path& model, const fs::path& folder) {
  const fs::path base = fs::absolute(model).lexically_normal(),
                 iteration = fs::absolute(folder).lexically_normal().parent_path();
  const std::string inside = base.lexically_relative(iteration).string();
  return inside.empty() || inside.starts_with("..") ? base.string() : "../../" + inside;
}

Json figures_of(const SavedAdapter& saved) {
  if (saved.rank == 0) return nullptr;
  return {{"rank", saved.rank}, {"weights", saved.weights}, {"sha256", saved.sha256}};
}

}  // namespace

Json keep_adapter(const Llama& trained, const fs::path& model, const fs::path& folder) {
  return figures_of(save_trained_adapter(trained, base_name(model, folder), folder / "adapter"));
}

Json keep_adapter(const RewardModel& trained, const fs::path& model, const fs::path& folder) {
  return figures_of(save_trained_adapter(trained, base_name(model, folder), folder / "adapter"));
}

}  // namespace cai
