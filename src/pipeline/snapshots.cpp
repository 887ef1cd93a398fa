#include "cai/pipeline/snapshots.hpp"

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/file.hpp"
#include "cai/pipeline/plan.hpp"
#include "cai/pipeline/run.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr const char* kConstitution = "constitution.yaml";
constexpr const char* kInputs = "inputs";

/// The absolute path of a file or folder; names that are none stay (self, a packaged model, a URL, a suite).
std::string absolute_path(const std::string& name) {
  std::error_code ignored;
  const bool is_name = name.empty() || name == "self" || is_packaged_model(name) || is_endpoint(name);
  return is_name || !fs::exists(name, ignored) ? name : fs::absolute(name).lexically_normal().string();
}

void make_absolute(std::vector<std::string>& names) {
  for (std::string& name : names)
    name = absolute_path(name);
}

/// run.json of a finished run; nothing where there is none, or it is damaged. A run that goes on warns
/// itself.
Json finished_run(const fs::path& run) {
  std::error_code ignored;
  if (!fs::exists(run / "run.json", ignored)) return Json::object();
  try {
    Json facts = read_run_json(run);
    return facts.value("state", "") == "done" ? facts : Json::object();
  } catch (const InputError&) {
    return Json::object();
  }
}

std::string hash_in(const Json& entry) {
  return entry.is_object() && entry.contains("sha256") && entry["sha256"].is_string()
             ? entry["sha256"].get<std::string>()
             : "";
}

/// {path relative to the run, SHA-256} of the copies that run.json names.
std::vector<std::pair<fs::path, std::string>> copies_in(const Json& run_json) {
  std::vector<std::pair<fs::path, std::string>> copies;
  copies.emplace_back(kConstitution, hash_in(run_json.value("constitution", Json())));
  for (const Json& entry : run_json.value("prompts", Json::array()))
    if (entry.is_object() && entry.contains("copy") && entry["copy"].is_string())
      copies.emplace_back(entry["copy"].get<std::string>(), hash_in(entry));
  std::erase_if(copies, [](const auto& copy) { return copy.second.empty(); });
  return copies;
}

}  // namespace

std::vector<std::string> prompt_copies(const std::vector<PromptFile>& files) {
  std::vector<std::string> names;
  for (const PromptFile& file : files) {
    const std::string leaf = file.path.filename().string();
    std::string name = std::string(kInputs) + "/" + leaf;
    for (int n = 2; std::find(names.begin(), names.end(), name) != names.end(); ++n)
      name = std::string(kInputs) + "/" + std::to_string(n) + "-" + leaf;
    names.push_back(name);
  }
  return names;
}

void copy_prompts(const std::vector<PromptFile>& files, const fs::path& run) {
  const std::vector<std::string> names = prompt_copies(files);
  std::vector<std::string> texts;  // read first: a copy may be one of the files
  for (const PromptFile& file : files) {
    texts.push_back(read_file(file.path));
    if (sha256(texts.back()) != file.sha256)
      throw InputError(file.path.string() + ": changed while the run began; run the same command again");
  }
  create_folders(run / kInputs);
  for (std::size_t i = 0; i < files.size(); ++i) {
    const fs::path copy = run / names[i];
    keep_earlier(copy, texts[i]);
    if (!fs::exists(copy)) write_file(copy, texts[i]);
  }
}

Config repeatable_config(const RunInputs& inputs, const fs::path& base) {
  Config config = inputs.config;
  config.out.clear();  // running this file again makes another run
  config.constitution = (base / kConstitution).string();
  config.prompts.files.clear();
  for (const std::string& name : prompt_copies(inputs.prompt_files))
    config.prompts.files.push_back((base / name).string());
  for (std::string* model : {&config.model, &config.feedback, &config.label.feedback, &config.eval.judge})
    *model = absolute_path(*model);
  for (auto* files : {&config.label.exam_pairs, &config.hybrid.pairs, &config.hybrid.decisions})
    make_absolute(*files);
  for (auto* suites : {&config.eval.suites, &config.prompts.wrappers})
    for (std::string& suite : *suites)
      if (fs::path(suite).has_extension()) suite = absolute_path(suite);  // else the name of a shipped one
  return config;
}

void check_copy(const fs::path& file, const std::string& sha256) {
  const fs::path path = fs::absolute(file).lexically_normal();
  for (const fs::path& run : {path.parent_path(), path.parent_path().parent_path()}) {
    for (const auto& [name, expected] : copies_in(finished_run(run)))
      if (run / name == path && expected != sha256)
        throw InputError(file.string() + ": changed since the run " + run.filename().string() +
                         " wrote it (SHA-256 " + expected.substr(0, 12) + "... -> " + sha256.substr(0, 12) +
                         "...); to use it as it is, copy it to another folder");
  }
}

std::vector<std::string> changed_copies(const fs::path& run, const Json& run_json) {
  std::vector<std::string> lines;
  const bool is_done = run_json.value("state", "") == "done";
  for (const auto& [name, expected] : copies_in(run_json)) {
    const fs::path copy = run / name;
    if (!fs::exists(copy)) {
      if (is_done) lines.push_back(copy.string() + ": is missing, but run.json lists it");
    } else if (sha256_file(copy) != expected) {
      lines.push_back(copy.string() + ": SHA-256 differs from the one in run.json");
    }
  }
  return lines;
}

void keep_earlier(const fs::path& file, const std::string& now) {
  if (!fs::exists(file) || read_file(file) == now) return;
  for (int n = 1;; ++n) {
    const fs::path aside = file.parent_path() /
                           (file.stem().string() + ".stale-" + std::to_string(n) + file.extension().string());
    if (fs::exists(aside) && read_file(aside) != read_file(file)) continue;
    rename_durably(file, aside);
    return;
  }
}

}  // namespace cai
