// A tokenizer's files as GGUF metadata, for export.
#pragma once

#include <filesystem>

#include "cai/io/gguf_vocabulary.hpp"

namespace cai {

/// Of a folder's Hugging Face files. Throws InputError for a tokenizer that GGUF has no name for, or that we
/// cannot write in it.
GgufVocabulary gguf_vocabulary(const std::filesystem::path& tokenizer_folder);

}  // namespace cai
