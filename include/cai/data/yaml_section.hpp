// Strict reading of one YAML map: fields are asked for by name, every problem is collected with file and
// line, and finish() reports the fields that nobody asked for.
#pragma once

#include <yaml-cpp/yaml.h>

#include <functional>
#include <string>
#include <vector>

namespace cai {

class YamlSection {
 public:
  static constexpr std::size_t kLongestText = 20'000;  // bytes

  /// `name` goes into messages ("principle 3"; may be empty). `problems` must outlive the section.
  YamlSection(const YAML::Node& node, std::string name, std::string file, std::vector<std::string>& problems);

  /// Notes a problem at the line of a node, or of the section.
  void problem(const YAML::Node& at, const std::string& what);
  void problem(const std::string& what) { problem(node_, what); }

  /// The field's value; undefined where it is absent or null.
  YAML::Node find(const std::string& key);

  /// A text without white space around it: 1 to 20,000 bytes. "" where the field is absent or wrong.
  std::string text(const std::string& key, bool required = false);

  /// A list of such texts.
  std::vector<std::string> texts(const std::string& key);

  double number(const std::string& key, double otherwise, double low, double high);
  bool flag(const std::string& key, bool otherwise = false);

  /// A list of maps, each handed to `read` as a section of its own and then finished.
  void maps(const std::string& key, const std::function<void(YamlSection&)>& read);

  /// Reports each field that was not asked for, with the nearest known one.
  void finish();

  const YAML::Node& node() const { return node_; }
  const std::string& name() const { return name_; }
  const std::string& file() const { return file_; }
  std::vector<std::string>& problems() { return problems_; }

 private:
  std::string checked(const YAML::Node& value, const std::string& key);

  YAML::Node node_;
  std::string name_;
  std::string file_;
  std::vector<std::string>& problems_;
  std::vector<std::string> known_;
};

}  // namespace cai
