#include "cai/pipeline/folder.hpp"

#include <algorithm>
#include <chrono>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

void remove_training_progress(const fs::path& folder) {
  // The manifest says that the stage is finished; these are looked at no more.
  for (const char* name : {"stage.json", "state"})
    remove_if_possible(folder / name);
}

/// The finished manifest of this key, if there is one.
std::optional<Manifest> finished(const fs::path& folder, const std::string& key) {
  std::optional<Manifest> manifest = read_manifest(folder);
  if (!manifest) return manifest;
  if (manifest->key != key) return std::nullopt;  // who begins anew moves it aside
  remove_unpublished(folder);                     // what a kill right after the manifest left
  remove_progress(folder);
  remove_training_progress(folder);
  return manifest;
}

std::vector<ManifestFile> list_files(const fs::path& folder) {
  std::vector<ManifestFile> files;
  for (auto entry = fs::recursive_directory_iterator(folder); entry != fs::recursive_directory_iterator();
       ++entry) {
    std::string name = fs::relative(entry->path(), folder).string();
    if (name == "state") entry.disable_recursion_pending();
    if (!entry->is_regular_file() || name == "manifest.json" || name == "stage.json") continue;
    files.push_back({name, -1, sha256_file(entry->path())});
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.file < b.file; });
  return files;
}

}  // namespace

void undone_by_bad_input(const fs::path& folder, const std::function<void()>& body) {
  fs::path first = folder.lexically_normal();  // the topmost folder that is not there yet
  if (!first.has_filename()) first = first.parent_path();
  const bool is_new = !fs::exists(first);
  while (is_new && first.has_parent_path() && !fs::exists(first.parent_path()))
    first = first.parent_path();
  try {
    body();
  } catch (const Error& error) {
    bool has_work = false;
    if (is_new && fs::exists(folder)) {
      for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        has_work |= entry.is_regular_file() && name != "progress.json" && name != "stage.json" &&
                    entry.file_size() > 0;
      }
    }
    if (is_new && error.exit_code() == kBadInput && !has_work) remove_if_possible(first);
    throw;
  }
}

StageResult run_record_stage(const fs::path& folder, const std::string& stage, const std::string& key,
                             double spent, const std::vector<std::string>& extras,
                             const std::function<Json(RecordWriter&)>& body) {
  if (std::optional<Manifest> manifest = finished(folder, key))
    return {manifest->figures, manifest->seconds, true};
  Stopwatch watch;
  Json figures;
  double seconds = 0;
  undone_by_bad_input(folder, [&] {
    RecordWriter writer(folder, stage, key);
    figures = body(writer);
    seconds = spent + watch.seconds();
    writer.finish(figures, seconds, extras);
  });
  return {figures, seconds, false};
}

StageResult run_training_stage(const fs::path& folder, const std::string& stage, const std::string& key,
                               double spent, const std::function<Json()>& body) {
  if (std::optional<Manifest> manifest = finished(folder, key))
    return {manifest->figures, manifest->seconds, true};
  Stopwatch watch;
  remove_unpublished(folder);
  if (fs::exists(folder) && !fs::is_empty(folder) && unfinished_key(folder) != key) {
    log_info(folder.string() + " was made from different inputs or settings; keeping it as " +
             move_aside(folder).filename().string());
  }
  Json figures;
  undone_by_bad_input(folder, [&] {
    create_folders(folder);
    write_sealed(folder / "stage.json", {{"stage", stage}, {"key", key}});
    figures = body();
  });
  double seconds = spent + watch.seconds();
  write_manifest(folder, {stage, key, list_files(folder), figures, seconds});
  remove_training_progress(folder);
  return {figures, seconds, false};
}

fs::path take_over(const std::vector<fs::path>& others, const fs::path& folder, const std::string& key) {
  if (fs::exists(folder)) return {};
  for (const fs::path& other : others) {
    const std::optional<Manifest> manifest = fs::exists(other) ? read_manifest(other) : std::nullopt;
    if (!manifest || manifest->key != key) continue;
    if (const std::vector<std::string> problems = verify_manifest(other); !problems.empty()) {
      log_warning(problems.front() + "; not reused");
      continue;
    }
    const fs::path begun = folder.string() + ".tmp";
    remove_path(begun);
    std::vector<std::string> files{"manifest.json"};
    for (const ManifestFile& file : manifest->files)
      files.push_back(file.file);
    for (const std::string& file : files) {
      create_folders((begun / file).parent_path());
      std::error_code failed;
      fs::create_hard_link(other / file, begun / file, failed);
      if (failed) write_file(begun / file, read_file(other / file));
      sync_folder((begun / file).parent_path());
    }
    rename_durably(begun, folder);
    return other;
  }
  return {};
}

std::vector<fs::path> set_aside_before(const fs::path& folder, const std::string& key) {
  const auto holds_it = [&](const fs::path& path) {
    try {
      const std::optional<Manifest> manifest = fs::exists(path) ? read_manifest(path) : std::nullopt;
      return manifest && manifest->key == key;
    } catch (const InputError&) {  // damaged: not taken back; where it counts, it is told
      return false;
    }
  };
  std::vector<fs::path> found;
  if (holds_it(folder)) return found;
  for (int n = 1;; ++n) {
    const fs::path aside = folder.string() + ".stale-" + std::to_string(n);
    if (!fs::exists(aside)) return found;
    if (holds_it(aside)) found.push_back(aside);
  }
}

std::string unfinished_key(const fs::path& folder) {
  fs::path file = folder / "stage.json";
  if (!fs::exists(file)) return "";
  try {
    return read_sealed(file).value("key", std::string());
  } catch (const InputError& damaged) {
    log_warning(damaged.what());
    return "";
  }
}

fs::path move_aside(const fs::path& folder) {
  fs::path name = folder.has_filename() ? folder : folder.parent_path();
  for (int n = 1;; ++n) {
    fs::path aside = name.string() + ".stale-" + std::to_string(n);
    if (fs::exists(aside)) continue;
    rename_durably(name, aside);
    return aside;
  }
}

bool holds_nothing(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename();
    if (name != "run.json.tmp" && !name.starts_with(".")) return false;
  }
  return true;
}

std::string key_of(const Json& ingredients) {
  return sha256(to_line(ingredients));
}

std::string hash_of(const std::vector<Json>& records) {
  Sha256 hash;
  for (const Json& record : records)
    hash.update(to_line(record) + "\n");
  return hash.hex();
}

std::vector<std::string> key_lines(const Config& config, const std::string& section) {
  std::vector<std::string> lines = split(section_text(config, section), '\n');
  std::erase(lines, "");
  return lines;
}

}  // namespace cai
