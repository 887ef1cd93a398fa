#include "cai/pipeline/adapters.hpp"

#include <set>
#include <vector>

#include "cai/base/error.hpp"
#include "cai/io/adapter_folder.hpp"
#include "cai/model/adapter.hpp"
#include "cai/model/config.hpp"
#include "cai/pipeline/home.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

// The folder of the adapter that a model was trained with; empty where there is none.
fs::path adapter_of(const fs::path& model) {
  fs::path path = fs::absolute(model).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  if (is_adapter_folder(path)) return path;
  const fs::path beside = path.parent_path() / "adapter";
  return path.filename() == "checkpoint" && is_adapter_folder(beside) ? beside : fs::path();
}

}  // namespace

ExportedAdapter export_adapter(const fs::path& checkpoint, const fs::path& out) {
  fs::path adapter = adapter_of(checkpoint);
  if (adapter.empty())
    throw InputError(checkpoint.string(), 0,
                     "was trained without an adapter; lora.rank above 0 in the settings of sft, ppo or dpo "
                     "trains one");
  std::vector<fs::path> all;  // the first model's first
  std::set<fs::path> seen;
  fs::path base = checkpoint;
  for (; !adapter.empty() && seen.insert(adapter).second; adapter = adapter_of(base)) {
    all.insert(all.begin(), adapter);
    base = parts_of_model(adapter).base;
  }
  const std::string name = hub_name(base);
  return {save_together(all, read_model_config(checkpoint), name, out), name};
}

}  // namespace cai
