// BPE (Sennrich et al. 2016) of bytes (GPT-2's bytes-as-characters alphabet) or characters (sentencepiece):
// from tokenizer.json or GGUF metadata.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cai/io/gguf.hpp"
#include "cai/io/json.hpp"
#include "cai/text/tokenizer.hpp"

namespace cai {

/// `config`: tokenizer_config.json of the same folder, or an empty object. `vocabulary`: the number of tokens
/// that the model knows, or -1; added tokens beyond it are left out with a warning. Throws InputError for
/// parts that we do not do (another model than BPE, an unknown normaliser or pre-tokeniser): nothing is
/// silently ignored.
std::shared_ptr<const Tokenizer> bpe_from_json(const SortedJson& tokenizer, const Json& config,
                                               const std::string& file, std::int64_t vocabulary = -1);

/// tokenizer.ggml.model "gpt2"; pre_of_name() knows the values of tokenizer.ggml.pre.
std::shared_ptr<const Tokenizer> bpe_from_gguf(const GgufFile& gguf, const std::string& file);

/// bos_token, eos_token and the like of a tokenizer_config.json, by name.
std::map<std::string, std::string> named_tokens_of(const Json& config);

/// The chat template of a tokenizer_config.json, or "". Of a list of named templates: the one called
/// "default". Throws InputError where there is none.
std::string template_of(const Json& config, const std::string& file);

/// A yes/no field of tokenizer_config.json; `otherwise` where it is absent or no such value.
bool flag_of(const Json& config, const char* name, bool otherwise);

/// A sentencepiece .model through the sentencepiece library.
std::shared_ptr<const Tokenizer> sentencepiece_from_file(const std::filesystem::path& model,
                                                         const Json& config);

/// tokenizer.ggml.model "llama": the same library, with a model made of the file's tokens, scores and types.
std::shared_ptr<const Tokenizer> sentencepiece_from_gguf(const GgufFile& gguf, const std::string& file);

}  // namespace cai
