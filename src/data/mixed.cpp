#include "cai/data/mixed.hpp"

#include <optional>

#include "cai/io/json.hpp"
#include "cai/io/manifest.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

std::string key_in(const fs::path& folder) {
  const std::optional<Manifest> manifest =
      fs::exists(folder / "manifest.json") ? read_manifest(folder) : std::nullopt;
  return manifest ? manifest->key : "";
}

// The first input of a stage that is not what it was made from, or "".
std::string other_input(const fs::path& run, const Json& ingredients) {
  if (!ingredients.contains("inputs") || !ingredients["inputs"].is_object()) return "";
  for (const auto& [folder, key] : ingredients["inputs"].items()) {
    const std::string now = key_in(run / folder);
    if (!now.empty() && key.is_string() && key != now) return folder;
  }
  return "";
}

}  // namespace

std::vector<std::string> mixed_stages(const fs::path& run) {
  std::vector<std::string> lines;
  if (!fs::exists(run / "run.json")) return lines;
  const Json facts = read_sealed(run / "run.json");
  const Json stages = facts.value("stages", Json::object());
  const Json constitution = facts.contains("constitution") && facts["constitution"].is_object()
                                ? facts["constitution"].value("sha256", Json())
                                : Json();
  for (const auto& [folder, entry] : stages.items()) {
    if (!entry.is_object() || !entry.contains("ingredients") || !entry["ingredients"].is_object()) continue;
    if (key_in(run / folder).empty()) continue;
    const Json& ingredients = entry["ingredients"];
    const std::string where = (run / folder).string() + ": was made from another ";
    if (ingredients.contains("constitution") && constitution.is_string() &&
        ingredients["constitution"] != constitution)
      lines.push_back(where + "constitution than " + (run / "constitution.yaml").string());
    else if (const std::string input = other_input(run, ingredients); !input.empty())
      lines.push_back(where + input + " than this run holds now");
  }
  return lines;
}

}  // namespace cai
