// Byte-level BPE (Sennrich et al. 2016; GPT-2's bytes-as-characters alphabet): from tokenizer.json or GGUF metadata.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cai/io/gguf.hpp"
#include "cai/io/json.hpp"
#include "cai/text/tokenizer.hpp"

namespace cai {

/// `config`: tokenizer_config.json of the same folder, or an empty object. Throws InputError for parts that we do not do
/// (another model than byte-level BPE, an unknown normaliser or pre-tokeniser): nothing is silently ignored.
std::shared_ptr<const Tokenizer> bpe_from_json(const SortedJson& tokenizer, const Json& config, const std::string& file);

/// tokenizer.ggml.model "gpt2" with pre: smollm, gpt-2, default, llama-bpe, qwen2.
std::shared_ptr<const Tokenizer> bpe_from_gguf(const GgufFile& gguf, const std::string& file);

/// A yes/no field of tokenizer_config.json; `otherwise` where it is absent or no such value.
bool flag_of(const Json& config, const char* name, bool otherwise);

/// A sentencepiece .model through the sentencepiece library.
std::shared_ptr<const Tokenizer> sentencepiece_from_file(const std::filesystem::path& model, const Json& config);

/// tokenizer.ggml.model "llama": the same library, with a model made of the file's tokens, scores and types.
std::shared_ptr<const Tokenizer> sentencepiece_from_gguf(const GgufFile& gguf, const std::string& file);

}  // namespace cai
