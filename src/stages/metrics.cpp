#include "cai/stages/metrics.hpp"

#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/records.hpp"

namespace cai {

namespace fs = std::filesystem;

std::vector<std::string> stages_with_metrics(const fs::path& iteration) {
  std::vector<std::string> stages;
  for (const char* stage : {"sft", "reward", "dpo", "ppo"})
    if (fs::exists(iteration / stage / "metrics.jsonl")) stages.push_back(stage);
  return stages;
}

std::vector<Json> read_metrics(const fs::path& stage) {
  const fs::path file = stage / "metrics.jsonl";
  if (fs::exists(stage / "manifest.json")) return read_records(file);
  std::vector<Json> lines;
  const std::string text = read_file(file);
  for (const std::string& line : split(text.substr(0, text.rfind('\n') + 1), '\n'))
    if (!line.empty()) lines.push_back(parse_json(line, file.string()));
  return lines;
}

}  // namespace cai
