// What is in a model's folder: the GGUF file or the Hugging Face files, whatever way they got there.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cai/io/file.hpp"
#include "cai/io/safetensors.hpp"

namespace cai {

/// The GGUF file of a model that is given as a file or a folder; "" for a Hugging Face folder.
/// Throws InputError where there is no model, or there are several.
std::filesystem::path gguf_of_model(const std::filesystem::path& model);

/// The safetensors files of a Hugging Face folder, as their full paths in the order of their names. Throws
/// InputError that says what to do when files are missing, or the weights are of a kind that is not read
/// (pytorch_model.bin; fp8, GPTQ, AWQ and other quantised ones).
std::vector<std::filesystem::path> hf_shards(const std::filesystem::path& folder);

struct HfTensors {
  std::vector<std::shared_ptr<MappedFile>> maps;
  std::vector<std::pair<std::string, SafeTensor>> tensors;  // the file that each is in; names are unique
};

/// All tensors of a Hugging Face folder under the names that transformers gives them: without what
/// torch.compile (_orig_mod.) and DataParallel (module.) put before them, with "model." where the body alone
/// was saved, without rotary buffers (inv_freq).
HfTensors read_hf_tensors(const std::filesystem::path& folder);

}  // namespace cai
