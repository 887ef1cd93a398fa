// What each family of models says in its config.json beyond what they all do, and what they leave out. For
// config_json.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "cai/model/config.hpp"

namespace cai {

/// Typed access to config.json that names the field in every complaint.
struct ConfigFields {
  const Json& json;
  const std::string& file;

  const Json* find(const std::string& name) const;  ///< nullptr where it is missing or null
  std::int64_t whole(const std::string& name, std::optional<std::int64_t> otherwise = {}) const;
  double number(const std::string& name, double otherwise) const;
  std::vector<double> numbers(const std::string& name) const;
  bool flag(const std::string& name, bool otherwise) const;
  std::string text(const std::string& name, const std::string& otherwise) const;
};

/// A family and the values that its files leave out (transformers' defaults).
struct Family {
  const char* name;  // of its HF class, less "ForCausalLM"
  const char* type;  // model_type
  double norm_epsilon;
  double rope_base;
  bool tied_head;
  std::int64_t head_width;                          // 0: width / heads
  void (*read)(const ConfigFields&, ModelConfig&);  // its own fields, after those of all families
  void (*write)(const ModelConfig&, Json&);         // the same into a config.json
};

std::span<const Family> families();

/// Of an HF class's name ("LlamaForCausalLM", "Gemma3TextForSequenceClassification"). nullptr: not read.
const Family* family_of(const std::string& architecture);

/// Reads rope_theta, rope_scaling and rope_parameters.
void read_rope(const ConfigFields& fields, const Family& family, ModelConfig& config);

/// Writes them, in the form that every version of transformers reads.
void write_rope(const ModelConfig& config, Json& json);

/// Why a model of this architecture is not read, in a few words, and the nearest one that is.
std::string why_not_read(const std::string& architecture);

}  // namespace cai
