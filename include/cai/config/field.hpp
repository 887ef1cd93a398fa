// A config field is declared once: name, member, default, range, one line of help. Parsing, checking, `config
// show`, `config explain` and the run's key follow from the declaration.
#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

namespace cai {

using FieldValue = std::variant<bool, long, double, std::string, std::vector<std::string>>;

struct Field {
  std::string section;  // "ppo"; "" for the top level
  std::string name;     // "kl_coefficient"
  std::string help;     // one line
  std::string accepts;  // "a number from 0 to 10", "one of: auto, float32, bfloat16"
  FieldValue initial;   // the default
  std::function<void(struct Config&, const FieldValue&)> set;
  std::function<FieldValue(const struct Config&)> get;
  std::function<std::string(const FieldValue&)> check;  // "" or what is wrong
  bool is_map = false;                                  // a text that holds a JSON object: in YAML a map
  std::function<bool(const struct Config&)> matters;    // empty: always; where not, keys leave it out
  bool is_path = false;   // names files: in a config file also those that lie beside it
  bool is_model = false;  // names who speaks: a key holds no local model's path, because its hash is there
  bool affects_result = true;  // then its value is part of keys; of files the content counts, not the name
};

/// All fields, in the order in which they are shown.
const std::vector<Field>& config_fields();

}  // namespace cai
