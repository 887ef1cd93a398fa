#include "cai/text/tokenizer.hpp"

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/gguf.hpp"
#include "cai/io/json.hpp"
#include "cai/text/bpe.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

template <class J>
J checked_object(J json, const fs::path& file) {
  if (!json.is_object()) throw InputError(file.string(), 1, "not a JSON object");
  return json;
}

SortedJson read_vocabulary(const fs::path& file) { return checked_object(parse_sorted_json(read_file(file), file.string()), file); }

// The folder's tokenizer_config.json, with chat_template.jinja put in when the template has a file of its own.
Json read_config(const fs::path& folder) {
  const fs::path file = folder / "tokenizer_config.json";
  Json config = fs::exists(file) ? checked_object(parse_json(read_file(file), file.string()), file) : Json::object();
  if (const fs::path jinja = folder / "chat_template.jinja"; fs::exists(jinja)) {
    config["chat_template"] = read_file(jinja);
    if (!is_utf8(config["chat_template"].get_ref<const std::string&>())) throw InputError(jinja.string(), 0, "not valid UTF-8");
  }
  return config;
}

}  // namespace

const std::vector<std::string>& chat_markers() {
  static const std::vector<std::string> names = {"<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>",
                                                 "<|user|>", "<|assistant|>", "<|system|>", "[INST]", "[/INST]", "<s>", "</s>"};
  return names;
}

std::shared_ptr<const Tokenizer> load_tokenizer(const fs::path& path) {
  if (!fs::exists(path)) throw InputError(path.string(), 0, "no such tokenizer file or folder");
  if (fs::is_directory(path)) {
    if (fs::exists(path / "tokenizer.json")) {
      const SortedJson json = read_vocabulary(path / "tokenizer.json");
      const bool converted = json.contains("model") && json["model"].is_object() && json["model"].contains("byte_fallback") && json["model"]["byte_fallback"] == true;
      if (!converted || !fs::exists(path / "tokenizer.model")) return bpe_from_json(json, read_config(path), (path / "tokenizer.json").string());
    }
    if (fs::exists(path / "tokenizer.model")) return sentencepiece_from_file(path / "tokenizer.model", read_config(path));
    if (const fs::path file = gguf_in_folder(path); !file.empty()) return load_tokenizer(file);
    throw InputError(path.string(), 0, "no tokenizer.json, tokenizer.model or .gguf file here");
  }
  if (path.extension() == ".json") return bpe_from_json(read_vocabulary(path), read_config(path.parent_path()), path.string());
  if (path.extension() == ".model") return sentencepiece_from_file(path, read_config(path.parent_path()));
  const GgufFile gguf = read_gguf(path);
  const std::string* kind = gguf.find<std::string>("tokenizer.ggml.model");
  return kind && *kind == "llama" ? sentencepiece_from_gguf(gguf, path.string()) : bpe_from_gguf(gguf, path.string());
}

}  // namespace cai
