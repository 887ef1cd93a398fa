// A tokenizer as GGUF metadata holds it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace cai {

struct GgufVocabulary {
  std::string model, pre;                   // tokenizer.ggml.model: "gpt2" or "llama"; .pre of the first
  std::vector<std::string> tokens, merges;  // by id; merges of "gpt2"
  std::vector<float> scores;                // of "llama"
  std::vector<std::int32_t> types;  // 1 ordinary, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
  std::map<std::string, std::uint32_t> ids;  // tokenizer.ggml.NAME: "bos_token_id" and the like
  std::map<std::string, bool> flags;         // tokenizer.ggml.NAME: "add_bos_token" and the like
  std::string chat_template;
};

}  // namespace cai
