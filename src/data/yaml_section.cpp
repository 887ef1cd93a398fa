#include "cai/data/yaml_section.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include "cai/base/text.hpp"

namespace cai {

YamlSection::YamlSection(const YAML::Node& node, std::string name, std::string file,
                         std::vector<std::string>& problems)
    : node_(node), name_(std::move(name)), file_(std::move(file)), problems_(problems) {
  std::set<std::string> seen;
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar()) {
      problem(entry.first, "a field's name must be a word");
    } else if (entry.first.Scalar() == "<<") {
      problem(entry.first, "\"<<\" (a YAML merge key) is not read; write the fields out");
    } else if (!seen.insert(entry.first.Scalar()).second) {
      problem(entry.first, "duplicate field " + in_quotes(entry.first.Scalar()));
    }
  }
}

void YamlSection::problem(const YAML::Node& at, const std::string& what) {
  const std::string where = file_ + ":" + std::to_string(at.Mark().line + 1) + ": ";
  problems_.push_back(where + (name_.empty() ? "" : name_ + ": ") + what);
}

YAML::Node YamlSection::find(const std::string& key) {
  known_.push_back(key);
  for (const auto& entry : node_) {
    if (entry.first.IsScalar() && entry.first.Scalar() == key && !entry.second.IsNull()) return entry.second;
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

std::string YamlSection::checked(const YAML::Node& value, const std::string& key) {
  const std::string s = trim(value.Scalar());
  if (s.empty()) problem(value, "\"" + key + "\" is empty");
  if (s.size() > kLongestText) {
    problem(value, "\"" + key + "\" has " + std::to_string(s.size()) + " bytes; accepted: at most " +
                       std::to_string(kLongestText));
  }
  return s;
}

std::string YamlSection::text(const std::string& key, bool required) {
  const YAML::Node value = find(key);
  if (!value.IsDefined()) {
    if (required) problem("no field \"" + key + "\"");
    return "";
  }
  if (!value.IsScalar()) {
    problem(value, "\"" + key + "\" must be a text");
    return "";
  }
  return checked(value, key);
}

std::vector<std::string> YamlSection::texts(const std::string& key) {
  std::vector<std::string> all;
  const YAML::Node value = find(key);
  if (!value.IsDefined()) return all;
  if (!value.IsSequence()) {
    problem(value, "\"" + key + "\" must be a list of texts");
    return all;
  }
  for (const auto& entry : value) {
    if (!entry.IsScalar() || trim(entry.Scalar()).empty()) {
      problem(entry, "\"" + key + "\" must be a list of texts");
    } else {
      all.push_back(checked(entry, key));
    }
  }
  return all;
}

double YamlSection::number(const std::string& key, double otherwise, double low, double high) {
  const YAML::Node value = find(key);
  if (!value.IsDefined()) return otherwise;
  const std::string s = value.IsScalar() ? value.Scalar() : "";
  double x = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), x);
  if (error == std::errc() && end == s.data() + s.size() && x >= low && x <= high) return x;
  problem(value, "\"" + key + "\": found " + in_quotes(s) + "; accepted: a number from " +
                     std::to_string(static_cast<long>(low)) + " to " +
                     std::to_string(static_cast<long>(high)));
  return otherwise;
}

bool YamlSection::flag(const std::string& key, bool otherwise) {
  const YAML::Node value = find(key);
  if (!value.IsDefined()) return otherwise;
  if (value.IsScalar() && (value.Scalar() == "true" || value.Scalar() == "false"))
    return value.Scalar() == "true";
  problem(value, "\"" + key + "\": accepted: true or false");
  return otherwise;
}

void YamlSection::maps(const std::string& key, const std::function<void(YamlSection&)>& read) {
  const YAML::Node value = find(key);
  if (!value.IsDefined()) return;
  if (!value.IsSequence()) {
    problem(value, "\"" + key + "\" must be a list");
    return;
  }
  int index = 0;
  for (const auto& entry : value) {
    ++index;
    if (!entry.IsMap()) {
      problem(entry, "\"" + key + "\" entry " + std::to_string(index) + " must hold fields");
      continue;
    }
    YamlSection one(entry, (name_.empty() ? "" : name_ + ", ") + key + " " + std::to_string(index), file_,
                    problems_);
    read(one);
    one.finish();
  }
}

void YamlSection::finish() {
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar()) continue;
    const std::string key = entry.first.Scalar();
    if (key == "<<" || std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const std::string near = nearest(key, known_);
    problem(entry.first,
            "unknown field " + in_quotes(key) + (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
  }
}

}  // namespace cai
