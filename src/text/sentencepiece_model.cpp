#include "cai/text/sentencepiece_model.hpp"

#include <cstdint>
#include <cstring>

namespace cai {
namespace {

// Field numbers of sentencepiece_model.proto.
namespace field {
constexpr std::uint64_t kPieces = 1, kTrainer = 2, kNormalizer = 3, kDenormalizer = 5;        // of a model
constexpr std::uint64_t kPiece = 1, kScore = 2, kType = 3;                                    // of a piece
constexpr std::uint64_t kModelType = 3, kByteFallback = 35, kUnk = 45, kBos = 46, kEos = 47;  // of a trainer
constexpr std::uint64_t kName = 1, kMap = 2, kDummyPrefix = 3, kExtraSpaces = 4;  // of a normaliser
}  // namespace field

constexpr std::uint64_t kBpe = 2;

// One field of a message: its number and its value, a number or bytes.
struct Field {
  std::uint64_t number = 0, value = 0;
  std::string_view bytes;
};

std::optional<std::uint64_t> take_varint(std::string_view& data) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64 && !data.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(data.front());
    data.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 127) << shift;
    if (byte < 128) return value;
  }
  return std::nullopt;
}

// Nothing at the end, or where the bytes are no message.
std::optional<Field> take_field(std::string_view& data) {
  const auto tag = take_varint(data);
  if (!tag) return std::nullopt;
  Field field{*tag >> 3, 0, {}};
  std::uint64_t size = 0;
  switch (*tag & 7) {
    case 0: {
      const auto value = take_varint(data);
      if (!value) return std::nullopt;
      field.value = *value;
      return field;
    }
    case 1: size = 8; break;
    case 2: {
      const auto length = take_varint(data);
      if (!length) return std::nullopt;
      size = *length;
      break;
    }
    case 5: size = 4; break;
    default: return std::nullopt;
  }
  if (size > data.size()) return std::nullopt;
  field.bytes = data.substr(0, static_cast<std::size_t>(size));
  data.remove_prefix(static_cast<std::size_t>(size));
  return field;
}

// Calls `each` with the fields of a message; false where the bytes are none.
template <class Each>
bool each_field(std::string_view message, Each each) {
  while (!message.empty()) {
    const auto field = take_field(message);
    if (!field) return false;
    each(*field);
  }
  return true;
}

bool read_piece(std::string_view message, SentencePieceModel& model) {
  SentencePieceModel::Piece piece;
  const bool ok = each_field(message, [&](const Field& f) {
    if (f.number == field::kPiece) piece.text = f.bytes;
    if (f.number == field::kScore && f.bytes.size() == sizeof(float))
      std::memcpy(&piece.score, f.bytes.data(), sizeof(float));
    if (f.number == field::kType && f.value >= 1 && f.value <= 6)
      piece.type = static_cast<PieceType>(f.value);
  });
  model.pieces.push_back(std::move(piece));
  return ok;
}

bool read_trainer(std::string_view message, SentencePieceModel& model) {
  return each_field(message, [&](const Field& f) {
    if (f.number == field::kModelType) model.is_bpe = f.value == kBpe;
    if (f.number == field::kByteFallback) model.byte_fallback = f.value != 0;
    if (f.number == field::kUnk) model.unk = f.bytes;
    if (f.number == field::kBos) model.bos = f.bytes;
    if (f.number == field::kEos) model.eos = f.bytes;
  });
}

bool read_normalizer(std::string_view message, SentencePieceModel& model) {
  return each_field(message, [&](const Field& f) {
    if (f.number == field::kMap && !f.bytes.empty()) model.has_character_map = true;
    if (f.number == field::kDummyPrefix) model.add_dummy_prefix = f.value != 0;
    if (f.number == field::kExtraSpaces) model.remove_extra_whitespaces = f.value != 0;
  });
}

void put_varint(std::string& out, std::uint64_t value) {
  for (; value > 127; value >>= 7)
    out.push_back(static_cast<char>((value & 127) | 128));
  out.push_back(static_cast<char>(value));
}

void put_number(std::string& out, std::uint64_t number, std::uint64_t value) {
  put_varint(out, number << 3);
  put_varint(out, value);
}

void put_bytes(std::string& out, std::uint64_t number, std::string_view bytes) {
  put_varint(out, number << 3 | 2);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string piece_bytes(const SentencePieceModel::Piece& piece) {
  std::string out;
  put_bytes(out, field::kPiece, piece.text);
  put_varint(out, field::kScore << 3 | 5);
  out.append(reinterpret_cast<const char*>(&piece.score), sizeof piece.score);
  put_number(out, field::kType, static_cast<std::uint64_t>(piece.type));
  return out;
}

}  // namespace

std::optional<SentencePieceModel> parse_sentencepiece(std::string_view bytes) {
  SentencePieceModel model;
  model.is_bpe = false;  // the message's own defaults
  bool ok = true;
  ok = each_field(bytes,
                  [&](const Field& f) {
                    if (f.number == field::kPieces) ok = read_piece(f.bytes, model) && ok;
                    if (f.number == field::kTrainer) ok = read_trainer(f.bytes, model) && ok;
                    if (f.number == field::kNormalizer) ok = read_normalizer(f.bytes, model) && ok;
                    SentencePieceModel other;
                    if (f.number == field::kDenormalizer) ok = read_normalizer(f.bytes, other) && ok;
                    model.has_character_map = model.has_character_map || other.has_character_map;
                  }) &&
       ok;
  return ok && !model.pieces.empty() ? std::optional(std::move(model)) : std::nullopt;
}

std::string sentencepiece_bytes(const SentencePieceModel& model) {
  std::string out, trainer, normalizer;
  for (const SentencePieceModel::Piece& piece : model.pieces)
    put_bytes(out, field::kPieces, piece_bytes(piece));
  put_number(trainer, field::kModelType, model.is_bpe ? kBpe : 1);
  put_number(trainer, 4, model.pieces.size());  // vocab_size
  put_number(trainer, field::kByteFallback, model.byte_fallback);
  put_bytes(trainer, field::kUnk, model.unk);
  put_bytes(trainer, field::kBos, model.bos);
  put_bytes(trainer, field::kEos, model.eos);
  put_bytes(out, field::kTrainer, trainer);
  put_bytes(normalizer, field::kName, "identity");
  put_number(normalizer, field::kDummyPrefix, model.add_dummy_prefix);
  put_number(normalizer, field::kExtraSpaces, model.remove_extra_whitespaces);
  put_bytes(out, field::kNormalizer, normalizer);
  return out;
}

}  // namespace cai
