// A GGUF file's sentencepiece vocabulary: tokens, scores and types as llama.cpp's converter writes them.
#include <algorithm>
#include <cmath>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/text/sentencepiece_model.hpp"
#include "cai/text/tokenizer.hpp"

namespace cai {
namespace {

using Piece = SentencePieceModel::Piece;

constexpr const char* kSpace = "\u2581";  // how sentencepiece writes a space

template <class T>
const std::vector<T>* list_of(const GgufFile& gguf, const std::string& key) {
  const GgufArray* array = gguf.find<GgufArray>("tokenizer.ggml." + key);
  return array ? std::get_if<std::vector<T>>(array) : nullptr;
}

// A token's id in the metadata; -1 for one outside the vocabulary; `otherwise` (llama.cpp's) where the file
// names none.
int id_of(const GgufFile& gguf, const std::string& name, std::size_t size, int otherwise) {
  const std::string key = "tokenizer.ggml." + name + "_token_id";
  const double* given = gguf.find<double>(key);
  if (!given && gguf.metadata.contains(key)) return -1;
  const double id = given ? *given : otherwise;
  return id >= 0 && id < static_cast<double>(size) ? static_cast<int>(id) : -1;
}

bool flag(const GgufFile& gguf, const std::string& name, bool otherwise) {
  const bool* value = gguf.find<bool>("tokenizer.ggml." + name);
  return value ? *value : otherwise;
}

bool is_marker(const std::string& text) {
  const std::vector<std::string>& markers = chat_markers();
  return std::find(markers.begin(), markers.end(), text) != markers.end();
}

// A file without types may hold bytes all the same: "<0x0A>".
PieceType type_of(const std::string& text) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  const bool is_byte =
      text.size() == 6 && text.starts_with("<0x") && is_digit(text[3]) && is_digit(text[4]) && text[5] == '>';
  return is_byte ? PieceType::kByte : PieceType::kNormal;
}

// As llama.cpp takes them: without scores all are 0, without types all tokens are ordinary ones.
std::vector<Piece> pieces_of(const GgufFile& gguf, const std::string& file) {
  const auto* tokens = list_of<std::string>(gguf, "tokens");
  const auto *scores = list_of<double>(gguf, "scores"), *types = list_of<double>(gguf, "token_type");
  const auto need = [&](bool ok, const char* key, const char* what) {
    if (!ok)
      throw InputError(file, 0, "metadata \"tokenizer.ggml." + std::string(key) + "\" must be " + what);
  };
  need(tokens && !tokens->empty(), "tokens", "a list of texts");
  for (const auto& [key, list] : {std::pair{"scores", scores}, {"token_type", types}})
    need(
        list ? list->size() == tokens->size() : !gguf.metadata.contains(std::string("tokenizer.ggml.") + key),
        key, "a list of numbers, one for each token");
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < tokens->size(); ++i) {
    const std::string& text = (*tokens)[i];
    if (!is_utf8(text)) throw InputError(file, 0, "token " + std::to_string(i) + " is not valid UTF-8");
    const double type = types ? (*types)[i] : static_cast<double>(type_of(text)),
                 score = scores ? (*scores)[i] : 0;
    need(type >= 1 && type <= 6 && type == std::floor(type), "token_type", "a list of numbers from 1 to 6");
    need(std::isfinite(score), "scores", "a list of finite numbers");
    pieces.push_back({text, static_cast<float>(score), static_cast<PieceType>(static_cast<int>(type))});
  }
  return pieces;
}

// Texts are looked up with their spaces written as the library does. No two pieces may be alike, and none may
// be empty: such a token can be nothing that a text holds, and gets a name that no text has.
void name_pieces(std::vector<Piece>& pieces) {
  std::set<std::string> names;
  for (const Piece& piece : pieces)
    names.insert(piece.text);
  for (Piece& piece : pieces) {
    if (piece.type != PieceType::kUserDefined || piece.text.find(' ') == piece.text.npos) continue;
    std::string escaped;
    for (const char c : piece.text)
      escaped += c == ' ' ? std::string(kSpace) : std::string(1, c);
    if (names.insert(escaped).second) piece.text = escaped;
  }
  std::set<std::string> before;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    Piece& piece = pieces[i];
    if (!piece.text.empty() && before.insert(piece.text).second) continue;
    do
      piece.text = "<unused-" + std::to_string(i) + ">" + piece.text;
    while (!before.insert(piece.text).second || names.contains(piece.text));
    piece.type = PieceType::kUnused;
  }
}

// The library wants exactly one piece for what it does not know. llama.cpp takes the first token where the
// file names none.
std::size_t choose_unknown(std::vector<Piece>& pieces, int declared) {
  std::size_t unknown = declared >= 0 ? static_cast<std::size_t>(declared) : 0;
  for (std::size_t i = pieces.size(); declared < 0 && i-- > 0;)
    if (pieces[i].type == PieceType::kUnknown) unknown = i;
  for (Piece& piece : pieces)
    if (piece.type == PieceType::kUnknown) piece.type = PieceType::kControl;
  pieces[unknown].type = PieceType::kUnknown;
  return unknown;
}

}  // namespace

SentencePieceModel sentencepiece_of_gguf(const GgufFile& gguf, const std::string& file) {
  SentencePieceModel model;
  model.pieces = pieces_of(gguf, file);
  name_pieces(model.pieces);
  const std::size_t size = model.pieces.size();
  for (Piece& piece : model.pieces)
    if (piece.type == PieceType::kUserDefined && is_marker(piece.text)) piece.type = PieceType::kControl;
  const auto control = [&](const char* name, int otherwise) -> std::string {
    const int id = id_of(gguf, name, size, otherwise);
    if (id < 0) return "";
    Piece& piece = model.pieces[static_cast<std::size_t>(id)];
    piece.type = PieceType::kControl;
    return piece.text;
  };
  model.bos = control("bos", 1);
  model.eos = control("eos", 2);
  model.unk = model.pieces[choose_unknown(model.pieces, id_of(gguf, "unknown", size, -1))].text;
  const auto bytes = std::count_if(model.pieces.begin(), model.pieces.end(),
                                   [](const Piece& p) { return p.type == PieceType::kByte; });
  model.byte_fallback = bytes == 256;
  model.add_dummy_prefix = flag(gguf, "add_space_prefix", true);
  model.remove_extra_whitespaces = flag(gguf, "remove_extra_whitespaces", false);
  return model;
}

Json sentencepiece_config(const SentencePieceModel& model, const GgufFile& gguf) {
  Json config = {{"tokenizer_class", "LlamaTokenizer"},
                 {"legacy", false},
                 {"clean_up_tokenization_spaces", false},
                 {"add_bos_token", flag(gguf, "add_bos_token", true)},
                 {"add_eos_token", flag(gguf, "add_eos_token", false)}};
  if (!model.add_dummy_prefix) config["add_prefix_space"] = false;
  Json added = Json::object();
  for (std::size_t i = 0; i < model.pieces.size(); ++i) {
    const Piece& piece = model.pieces[i];
    if (piece.type != PieceType::kControl && piece.type != PieceType::kUnknown) continue;
    added[std::to_string(i)] = {{"content", piece.text}, {"lstrip", false},      {"normalized", false},
                                {"rstrip", false},       {"single_word", false}, {"special", true}};
  }
  config["added_tokens_decoder"] = added;
  if (const int pad = id_of(gguf, "padding", model.pieces.size(), -1); pad >= 0)
    config["pad_token"] = model.pieces[static_cast<std::size_t>(pad)].text;
  if (const std::string* chat = gguf.find<std::string>("tokenizer.chat_template"))
    config["chat_template"] = *chat;
  return config;
}

}  // namespace cai
