// Reads a principle's `check:` from YAML.
#pragma once

#include <string>

#include "cai/data/answer_check.hpp"
#include "cai/data/yaml_section.hpp"

namespace cai {

/// The rules of the list in field `key`; empty where the field is absent. Problems go to the section's list,
/// with their lines.
AnswerCheck read_check(YamlSection& section, const std::string& key);

}  // namespace cai
