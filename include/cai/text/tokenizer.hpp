// Tokenizers: byte-level BPE (tokenizer.json, GGUF metadata) and sentencepiece (.model).
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cai {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Tokens of plain text. Never yields a control token, whatever the text spells; any bytes are accepted
  /// (invalid UTF-8 is replaced by U+FFFD first, as the reference implementations do). Adds no bos.
  virtual std::vector<int> encode(std::string_view text) const = 0;

  /// The text that a person reads: control tokens are left out, invalid UTF-8 becomes U+FFFD.
  virtual std::string decode(std::span<const int> tokens) const = 0;

  /// The id of a control or added token ("<|im_start|>", "<s>", ...), if there is one.
  virtual std::optional<int> control(std::string_view name) const = 0;
  virtual bool is_control(int token) const = 0;

  virtual int vocabulary() const = 0;       ///< number of ids
  virtual std::optional<int> bos() const = 0;
  virtual std::optional<int> eos() const = 0;
  virtual bool adds_bos() const = 0;        ///< whether a plain prompt (no chat template) starts with bos
  virtual std::string chat_template() const = 0;  ///< the Jinja source that the model declares, or ""

  /// Writes the HF files (tokenizer.json or tokenizer.model, tokenizer_config.json with the chat template, special_tokens_map.json,
  /// generation_config.json with eos) so that transformers' AutoTokenizer gives the same tokens.
  virtual void save(const std::filesystem::path& folder) const = 0;
};

/// Names of the control tokens that our chat formats write. No text becomes one of them, whatever kind a tokenizer's file gives them.
const std::vector<std::string>& chat_markers();

/// From an HF folder (tokenizer.json preferred, else tokenizer.model), a tokenizer.json, a .model file, or a .gguf file.
/// Throws InputError when nothing usable is found or a file is malformed.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path);

}  // namespace cai
