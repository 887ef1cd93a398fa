#include "cai/text/gguf_vocabulary.hpp"

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/text/bpe.hpp"
#include "cai/text/pre_tokenizer.hpp"
#include "cai/text/sentencepiece_model.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

void add_token(GgufVocabulary& out, std::size_t id, const std::string& text, PieceType type) {
  if (id >= (1u << 24)) throw InputError("a token's id is " + std::to_string(id));
  if (id >= out.tokens.size()) {
    out.tokens.resize(id + 1);
    out.types.resize(id + 1, static_cast<std::int32_t>(PieceType::kUnused));
  }
  out.tokens[id] = text;
  out.types[id] = static_cast<std::int32_t>(type);
}

void read_bpe(GgufVocabulary& out, const fs::path& file) {
  const SortedJson json = parse_sorted_json(read_file(file), file.string());
  try {
    for (const auto& [token, id] : json.at("model").at("vocab").items())
      add_token(out, id.get<std::size_t>(), token, PieceType::kNormal);
    for (const SortedJson& t : json.at("added_tokens"))
      add_token(out, t.at("id").get<std::size_t>(), t.at("content").get<std::string>(),
                t.value("special", false) ? PieceType::kControl : PieceType::kUserDefined);
    for (const SortedJson& m : json["model"].at("merges"))
      out.merges.push_back(m.is_array() ? m[0].get<std::string>() + " " + m[1].get<std::string>()
                                        : m.get<std::string>());
    out.pre = name_of_pre(json);
  } catch (const SortedJson::exception&) {
    throw InputError(file.string(), 0, "not a byte-level BPE tokenizer.json");
  }
  if (out.pre.empty())
    throw InputError(file.string(), 0, "GGUF has no name that we know for this pre-tokeniser");
  out.model = "gpt2";
}

// Added tokens keep their spaces as they are; llama.cpp looks them up in the text itself.
std::string with_spaces(std::string text) {
  for (auto at = text.find("\u2581"); at != text.npos; at = text.find("\u2581", at + 1))
    text.replace(at, 3, " ");
  return text;
}

void read_sentencepiece(GgufVocabulary& out, const fs::path& file) {
  const auto model = parse_sentencepiece(read_file(file));
  if (!model) throw InputError(file.string(), 0, "not a sentencepiece model");
  if (!model->is_bpe)
    throw InputError(
        file.string(), 0,
        "a sentencepiece model of the unigram kind, which has no place in a Llama-family GGUF file");
  for (std::size_t i = 0; i < model->pieces.size(); ++i) {
    const SentencePieceModel::Piece& piece = model->pieces[i];
    add_token(out, i, piece.type == PieceType::kUserDefined ? with_spaces(piece.text) : piece.text,
              piece.type);
    out.scores.push_back(piece.score);
  }
  out.model = "llama";
  out.flags["add_space_prefix"] = model->add_dummy_prefix;
  out.flags["remove_extra_whitespaces"] = model->remove_extra_whitespaces;
}

std::string name_of(const Json& config, const char* field) {
  const auto it = config.find(field);
  if (it == config.end()) return "";
  const Json& content = it->is_object() && it->contains("content") ? (*it)["content"] : *it;
  return content.is_string() ? content.get<std::string>() : "";
}

void read_config(GgufVocabulary& out, const fs::path& folder) {
  const fs::path file = folder / "tokenizer_config.json", jinja = folder / "chat_template.jinja";
  const Json config = fs::exists(file) ? parse_json(read_file(file), file.string()) : Json::object();
  if (!config.is_object()) throw InputError(file.string(), 1, "not a JSON object");
  const std::pair<const char*, const char*> fields[] = {{"bos_token", "bos_token_id"},
                                                        {"eos_token", "eos_token_id"},
                                                        {"pad_token", "padding_token_id"},
                                                        {"unk_token", "unknown_token_id"}};
  for (const auto& [field, key] : fields) {
    const auto token = std::find(out.tokens.begin(), out.tokens.end(), name_of(config, field));
    if (token != out.tokens.end() && !token->empty())
      out.ids[key] = static_cast<std::uint32_t>(token - out.tokens.begin());
  }
  out.flags["add_bos_token"] = flag_of(config, "add_bos_token", out.model == "llama");
  out.flags["add_eos_token"] = flag_of(config, "add_eos_token", false);
  out.chat_template = fs::exists(jinja) ? read_file(jinja) : name_of(config, "chat_template");
}

}  // namespace

GgufVocabulary gguf_vocabulary(const fs::path& folder) {
  GgufVocabulary out;
  if (fs::exists(folder / "tokenizer.model"))
    read_sentencepiece(out, folder / "tokenizer.model");
  else if (fs::exists(folder / "tokenizer.json"))
    read_bpe(out, folder / "tokenizer.json");
  else
    throw InputError(folder.string(), 0, "no tokenizer.json or tokenizer.model");
  for (std::size_t i = 0; i < out.tokens.size(); ++i)  // llama.cpp wants a name for each, and no two alike
    if (out.tokens[i].empty()) out.tokens[i] = "[UNUSED_" + std::to_string(i) + "]";
  read_config(out, folder);
  return out;
}

}  // namespace cai
