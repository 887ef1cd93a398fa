#include <algorithm>
#include <array>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/text/pre_tokenizer.hpp"

namespace cai {
namespace {

// The patterns as the models' own tokenizer.json files state them.
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

SortedJson split_step(const char* pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}

SortedJson byte_level(bool with_pattern) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", with_pattern}};
}

SortedJson sequence(const std::vector<SortedJson>& steps) {
  return {{"type", "Sequence"}, {"pretokenizers", SortedJson(steps)}};
}

struct Group {
  std::vector<const char*> names;
  std::vector<SortedJson> steps;
  bool ignore_merges = false, nfc = false;
};

const std::vector<Group>& groups() {
  static const std::vector<Group> all = {
      {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"},
       {{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)}},
      {{"gpt-2", "default", "", "phi-2", "mpt", "olmo", "jais", "exaone4", "trillion", "granite-docling"},
       {byte_level(true)}},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
       {split_step(kLlama3), byte_level(false)},
       true},
      {{"dbrx", "smaug-bpe"}, {split_step(kLlama3), byte_level(false)}},
      {{"qwen2", "deepseek-r1-qwen", "megrez", "kormo"},
       {split_step(kQwen2), byte_level(false)},
       false,
       true},
      {{"stablelm2", "hunyuan"}, {split_step(kQwen2), byte_level(false)}},
      {{"qwen35"}, {split_step(kQwen35), byte_level(false)}, false, true},
      {{"tekken"}, {split_step(kTekken), byte_level(false)}, true},
      {{"gpt-4o", "llama4", "kanana2"}, {split_step(kGpt4o), byte_level(false)}},
      {{"seed-coder"}, {split_step(kSeedCoder), byte_level(false)}},
      {{"deepseek-v3", "hunyuan-dense"},
       {split_step(R"(\p{N}{1,3})"), split_step("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
        split_step(kDeepSeek3), byte_level(false)}}};
  return all;
}

// What matters of a pre-tokenizer: its steps without what only concerns offsets into the text.
std::string steps_of(const SortedJson& pre_tokenizer) {
  SortedJson steps = pre_tokenizer.is_object()
                         ? pre_tokenizer.value("pretokenizers", SortedJson::array({pre_tokenizer}))
                         : SortedJson::array();
  for (SortedJson& step : steps) {
    if (!step.is_object()) continue;
    step.erase("trim_offsets");
    if (step.value("type", "") == "ByteLevel" && !step.contains("use_regex"))
      step["use_regex"] = true;  // older files
  }
  return steps.dump();
}

}  // namespace

std::string name_of_pre(const SortedJson& tokenizer) {
  const SortedJson& model = tokenizer.at("model");
  const std::string steps = steps_of(tokenizer.value("pre_tokenizer", SortedJson()));
  const bool ignore_merges = model.is_object() && model.value("ignore_merges", false);
  const bool nfc = tokenizer.contains("normalizer") && tokenizer["normalizer"].is_object();
  std::string alike;  // but for what llama.cpp decides by the name
  for (const Group& group : groups()) {
    if (steps_of(sequence(group.steps)) != steps) continue;
    if (group.ignore_merges == ignore_merges && group.nfc == nfc) return group.names.front();
    if (alike.empty()) alike = group.names.front();
  }
  return alike;
}

NamedPre pre_of_name(const std::string& name, const std::string& file) {
  std::string accepted;
  for (const Group& group : groups()) {
    for (const char* one : group.names) {
      if (one == name)
        return {sequence(group.steps), group.nfc ? SortedJson{{"type", "NFC"}} : SortedJson(),
                group.ignore_merges};
      if (*one) accepted += (accepted.empty() ? "" : ", ") + std::string(one);
    }
  }
  throw InputError(file, 0,
                   "tokenizer.ggml.pre " + in_quotes(name) + "; accepted: " + accepted +
                       ". The model's Hugging Face folder works for others");
}

}  // namespace cai
