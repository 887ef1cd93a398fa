#include "cai/data/run_folder.hpp"

#include <algorithm>
#include <tuple>

#include "cai/base/error.hpp"
#include "cai/io/records.hpp"

namespace cai {

namespace fs = std::filesystem;

std::vector<fs::path> iterations_of(const fs::path& run) {
  std::vector<fs::path> found;
  if (!fs::is_directory(run)) return found;
  for (const auto& entry : fs::directory_iterator(run)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory() && name.starts_with("iter-") && name.size() > 5 &&
        name.find_first_not_of("0123456789", 5) == name.npos)
      found.push_back(entry.path());
  }
  const auto number = [](const fs::path& p) {  // "iter-100" comes behind "iter-11"
    const std::string digits = p.filename().string().substr(5);
    const std::string significant = digits.substr(std::min(digits.find_first_not_of('0'), digits.size()));
    return std::tuple(significant.size(), significant, digits);
  };
  std::sort(found.begin(), found.end(),
            [&](const fs::path& x, const fs::path& y) { return number(x) < number(y); });
  return found;
}

std::vector<fs::path> stage_folders(const fs::path& run, const std::string& stage) {
  std::vector<fs::path> found;
  for (const fs::path& iteration : iterations_of(run)) {
    fs::path folder = iteration / stage;
    for (int round = 1; fs::exists(iteration / (stage + "-" + std::to_string(round)) / "manifest.json");
         ++round)
      folder = iteration / (stage + "-" + std::to_string(round));
    if (fs::exists(folder / "manifest.json")) found.push_back(folder);
  }
  return found;
}

bool is_label(const Json& record) {
  const auto is_text = [&](const char* field) { return record.contains(field) && record[field].is_string(); };
  return is_text("prompt") && is_text("a") && is_text("b") && record.contains("p") &&
         record["p"].is_number() && record["p"] >= 0 && record["p"] <= 1;
}

std::vector<Json> read_labels(const fs::path& path) {
  if (!fs::exists(path)) throw InputError(path.string() + ": no such run, folder or file");
  std::vector<Json> labels;
  if (fs::exists(path / "run.json")) {
    for (const fs::path& folder : stage_folders(path, "label")) {
      const std::string iteration = folder.parent_path().filename().string();
      for (Json& record : read_records(folder))
        record["iteration"] = iteration, labels.push_back(std::move(record));
    }
    if (labels.empty()) throw InputError(path.string() + ": this run has no finished label stage yet");
  } else {
    labels = read_records(path);
  }
  if (labels.empty() || !std::all_of(labels.begin(), labels.end(), is_label))
    throw InputError(path.string() +
                     ": holds no labels; accepted: a run, or the folder or file that cai label wrote");
  return labels;
}

}  // namespace cai
