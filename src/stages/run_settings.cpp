#include "cai/stages/run_settings.hpp"

#include <map>

#include <yaml-cpp/yaml.h>

#include "cai/base/error.hpp"
#include "cai/io/json.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;
using Settings = std::map<std::string, std::string>;

void flat(const YAML::Node& node, const std::string& name, Settings& settings) {
  if (node.IsMap()) {
    for (const auto& entry : node)
      flat(entry.second, (name.empty() ? "" : name + ".") + entry.first.as<std::string>(), settings);
  } else if (node.IsSequence()) {
    std::string list;
    for (const YAML::Node& one : node)
      list += (list.empty() ? "" : ", ") + (one.IsScalar() ? one.as<std::string>() : YAML::Dump(one));
    settings[name] = list;
  } else {
    settings[name] = node.IsScalar() ? node.as<std::string>() : "";
  }
}

void flat(const Json& value, const std::string& name, Settings& settings) {
  if (!value.is_structured()) {
    settings[name] = value.is_string() ? value.get<std::string>() : value.dump();
    return;
  }
  std::size_t number = 0;
  for (const auto& [key, one] : value.items()) {
    const std::string part = value.is_array() ? std::to_string(++number) : key;
    flat(one, name.empty() ? part : name + "." + part, settings);
  }
}

Settings settings_of(const fs::path& run) {
  Settings settings;
  try {
    flat(YAML::LoadFile((run / "config.yaml").string()), "", settings);
  } catch (const YAML::Exception& e) {
    throw InputError((run / "config.yaml").string() + ": cannot be read: " + e.what());
  }
  settings.erase("out");
  Json facts = read_sealed(run / "run.json");
  for (const char* other : {"stages", "report_sha256", "state", "failed_gates", "config_sha256"})
    facts.erase(other);
  flat(facts, "", settings);
  return settings;
}

}  // namespace

std::vector<Difference> setting_differences(const fs::path& first, const fs::path& second) {
  Settings a = settings_of(first), b = settings_of(second);
  std::vector<Difference> differences;
  Settings all = a;
  all.insert(b.begin(), b.end());
  for (const auto& [name, value] : all)
    if (a[name] != b[name]) differences.push_back({name, a[name], b[name]});
  return differences;
}

}  // namespace cai
