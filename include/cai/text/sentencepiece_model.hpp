// What a sentencepiece .model file says (a protocol buffer, sentencepiece_model.proto), as far as other
// formats need it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cai/io/gguf.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// Kinds of pieces; GGUF's tokenizer.ggml.token_type has the same numbers.
enum class PieceType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct SentencePieceModel {
  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::kNormal;
  };
  std::vector<Piece> pieces;     // by id
  bool is_bpe = true;            // else unigram
  bool byte_fallback = false;    // what has no piece becomes bytes
  bool add_dummy_prefix = true;  // a space before each text
  bool remove_extra_whitespaces = true;
  bool has_character_map = false;                        // a compiled normalisation
  std::string unk = "<unk>", bos = "<s>", eos = "</s>";  // pieces
};

/// Nothing where the bytes are no such message.
std::optional<SentencePieceModel> parse_sentencepiece(std::string_view bytes);

/// A .model file that the sentencepiece library reads; without a character map.
std::string sentencepiece_bytes(const SentencePieceModel& model);

/// The vocabulary of a GGUF file with tokenizer.ggml.model "llama" (Llama 2, Mistral, TinyLlama, Gemma).
/// Throws InputError naming the metadata or token that is wrong.
SentencePieceModel sentencepiece_of_gguf(const GgufFile& gguf, const std::string& file);

/// The tokenizer_config.json of such a vocabulary.
Json sentencepiece_config(const SentencePieceModel& model, const GgufFile& gguf);

}  // namespace cai
