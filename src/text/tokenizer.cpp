#include "cai/text/tokenizer.hpp"

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/gguf.hpp"
#include "cai/io/json.hpp"
#include "cai/text/added_tokens.hpp"
#include "cai/text/bpe.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

template <class J>
J checked_object(J json, const fs::path& file) {
  if (!json.is_object()) throw InputError(file.string(), 1, "not a JSON object");
  return json;
}

SortedJson read_vocabulary(const fs::path& file) {
  return checked_object(parse_sorted_json(read_file(file), file.string()), file);
}

// The folder's tokenizer_config.json, with the chat template and the control tokens put in where they have
// files of their own.
Json read_config(const fs::path& folder) {
  const auto read = [](const fs::path& file) {
    return fs::exists(file) ? checked_object(parse_json(read_file(file), file.string()), file)
                            : Json::object();
  };
  Json config = read(folder / "tokenizer_config.json");
  const Json map = read(folder / "special_tokens_map.json");
  for (const auto& [name, token] : map.items())
    if (name.ends_with("_token") && !config.contains(name)) config[name] = token;
  if (const fs::path jinja = folder / "chat_template.jinja"; fs::exists(jinja)) {
    config["chat_template"] = read_file(jinja);
    if (!is_utf8(config["chat_template"].get_ref<const std::string&>()))
      throw InputError(jinja.string(), 0, "not valid UTF-8");
  }
  return config;
}

bool is_of_sentencepiece(const SortedJson& json) {
  const auto model = json.find("model");
  return model != json.end() && model->is_object() && model->contains("byte_fallback") &&
         (*model)["byte_fallback"] == true;
}

// Whether a tokenizer.json knows more tokens than the tokenizer.model beside it: those that a fine-tune
// added.
bool has_more_tokens(const SortedJson& json, int pieces) {
  const auto added = json.find("added_tokens");
  if (added == json.end() || !added->is_array()) return false;
  return std::any_of(added->begin(), added->end(), [&](const SortedJson& t) {
    return t.is_object() && t.contains("id") && t["id"].is_number_integer() &&
           t["id"].get<std::int64_t>() >= pieces;
  });
}

std::shared_ptr<const Tokenizer> load_folder(const fs::path& path, std::int64_t vocabulary) {
  std::shared_ptr<const Tokenizer> pieces;
  if (fs::exists(path / "tokenizer.json")) {
    const SortedJson json = read_vocabulary(path / "tokenizer.json");
    if (is_of_sentencepiece(json) && fs::exists(path / "tokenizer.model"))
      pieces = sentencepiece_from_file(path / "tokenizer.model", read_config(path));
    if (!pieces || has_more_tokens(json, pieces->vocabulary()))
      return bpe_from_json(json, read_config(path), (path / "tokenizer.json").string(), vocabulary);
    return pieces;
  }
  if (fs::exists(path / "tokenizer.model"))
    return sentencepiece_from_file(path / "tokenizer.model", read_config(path));
  if (const fs::path file = gguf_in_folder(path); !file.empty()) return load_tokenizer(file);
  throw InputError(path.string(), 0, "no tokenizer.json, tokenizer.model or .gguf file here");
}

}  // namespace

const std::vector<std::string>& chat_markers() {
  static const std::vector<std::string> names = {"<|im_start|>",
                                                 "<|im_end|>",
                                                 "<|start_header_id|>",
                                                 "<|end_header_id|>",
                                                 "<|eot_id|>",
                                                 "<|end_of_text|>",
                                                 "<|endoftext|>",
                                                 "<|user|>",
                                                 "<|assistant|>",
                                                 "<|system|>",
                                                 "<|end|>",
                                                 "[INST]",
                                                 "[/INST]",
                                                 "<start_of_turn>",
                                                 "<end_of_turn>",
                                                 "<s>",
                                                 "</s>"};
  return names;
}

std::vector<int> encode_parts(const Tokenizer& tokenizer, std::span<const TextPart> parts) {
  std::string text;
  std::vector<std::pair<std::size_t, std::size_t>> typed;  // stretches of `text`, in order
  for (const TextPart& part : parts) {
    const std::string piece = to_utf8(part.text);
    if (part.typed && !piece.empty()) typed.emplace_back(text.size(), text.size() + piece.size());
    text += piece;
  }
  const auto written_by_the_template = [&](std::size_t from, std::size_t to) {
    const auto next =
        std::lower_bound(typed.begin(), typed.end(), from,
                         [](const auto& stretch, std::size_t at) { return stretch.second <= at; });
    return next == typed.end() || next->first >= to;
  };
  std::vector<int> tokens;
  const auto plain = [&](std::string_view piece, std::size_t from) {
    const std::vector<int> ids = from == 0 ? tokenizer.encode(piece) : tokenizer.encode_behind(piece);
    tokens.insert(tokens.end(), ids.begin(), ids.end());
  };
  AddedTokens(tokenizer.controls()).split(text, written_by_the_template, plain, [&](const AddedToken& token) {
    tokens.push_back(token.id);
  });
  return tokens;
}

std::shared_ptr<const Tokenizer> load_tokenizer(const fs::path& path, std::int64_t vocabulary) {
  if (!fs::exists(path)) throw InputError(path.string(), 0, "no such tokenizer file or folder");
  if (fs::is_directory(path)) return load_folder(path, vocabulary);
  if (path.extension() == ".json")
    return bpe_from_json(read_vocabulary(path), read_config(path.parent_path()), path.string(), vocabulary);
  if (path.extension() == ".model") return sentencepiece_from_file(path, read_config(path.parent_path()));
  const GgufFile gguf = read_gguf(path);
  const std::string* kind = gguf.find<std::string>("tokenizer.ggml.model");
  return kind && *kind == "llama" ? sentencepiece_from_gguf(gguf, path.string())
                                  : bpe_from_gguf(gguf, path.string());
}

}  // namespace cai
