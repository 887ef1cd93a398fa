// Tokenizers: BPE (tokenizer.json, GGUF metadata) and sentencepiece (.model).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cai {

/// A token that is looked up in a text as a whole before the rest is cut and merged.
struct AddedToken {
  std::string content;
  int id = 0;
  bool special = false;                 // a control token: no text that a person or a model wrote becomes it
  bool lstrip = false, rstrip = false;  // takes the white space before or behind it along
  bool single_word = false;             // only where no letter or digit touches it
  bool normalized = false;              // looked up behind the normaliser
};

/// A stretch of a rendered conversation.
struct TextPart {
  std::string text;
  bool typed = false;  // by a person or a model; else by the chat template
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Tokens of plain text. Never yields a control token, whatever the text spells; any bytes are accepted
  /// (invalid UTF-8 is replaced by U+FFFD first, as the reference implementations do). Adds no bos.
  virtual std::vector<int> encode(std::string_view text) const = 0;

  /// The same for text that stands behind a control token: some tokenizers put a space before the first text
  /// only.
  virtual std::vector<int> encode_behind(std::string_view text) const { return encode(text); }

  /// The text that a person reads: control tokens are left out, invalid UTF-8 becomes U+FFFD.
  virtual std::string decode(std::span<const int> tokens) const = 0;

  /// The id of a control or added token ("<|im_start|>", "<s>", ...), if there is one.
  virtual std::optional<int> control(std::string_view name) const = 0;
  virtual bool is_control(int token) const = 0;

  /// The control tokens.
  virtual std::vector<AddedToken> controls() const = 0;

  /// What a chat template knows as bos_token, eos_token, unk_token, pad_token and so on: name to text.
  virtual std::map<std::string, std::string> named_tokens() const = 0;

  virtual int vocabulary() const = 0;  ///< number of ids
  virtual std::optional<int> bos() const = 0;
  virtual std::optional<int> eos() const = 0;
  virtual std::vector<int> other_ends() const {
    return {};
  }  ///< tokens that end an answer beside eos, where the tokenizer's file names some
  virtual bool adds_bos() const = 0;  ///< whether a plain prompt (no chat template) starts with bos
  virtual std::string chat_template() const = 0;  ///< the Jinja source that the model declares, or ""

  /// Writes the HF files (tokenizer.json or tokenizer.model, tokenizer_config.json with the chat template,
  /// special_tokens_map.json, generation_config.json with eos) so that transformers' AutoTokenizer gives the
  /// same tokens.
  virtual void save(const std::filesystem::path& folder) const = 0;
};

/// Tokens of a rendered conversation, as tokenising its whole text gives them, but that only what the
/// template wrote becomes a control token.
std::vector<int> encode_parts(const Tokenizer& tokenizer, std::span<const TextPart> parts);

/// Names of the control tokens that common chat formats write. No text becomes one of them, whatever kind a
/// tokenizer's file gives them.
const std::vector<std::string>& chat_markers();

/// From an HF folder (tokenizer.json preferred, else tokenizer.model), a tokenizer.json, a .model file, or a
/// .gguf file. `vocabulary`: the number of tokens that the model knows, or -1; added tokens beyond it are
/// left out with a warning. Throws InputError when nothing usable is found or a file is malformed.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path,
                                                std::int64_t vocabulary = -1);

}  // namespace cai
