// Chat templates: messages to tokens, by what the model declares. Text from users can never become a control token.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cai/text/tokenizer.hpp"

namespace cai {

struct Message {
  std::string role;      // "system", "user", "assistant"
  std::string content;
};

enum class ChatFormat { kChatML, kLlama2, kLlama3, kMistral, kQwen, kZephyr, kPlain };

/// How a model of the [INST] family writes its turns; models of one family differ in spaces and trimming.
struct InstStyle {
  std::string open, close;           // around the user's text: "[INST] ", " [/INST]"
  std::string before, after, last;   // around the answer: before it, between it and eos, after eos
  bool trims_user = false, trims_answer = false;
  bool bos_each_turn = false;        // before each user turn, instead of once
  bool system_in_last_turn = false;  // the system prompt stands in the last user turn, instead of the first
};

class ChatTemplate {
 public:
  /// The format is recognised from the tokenizer's declared template (its control tokens and literal pieces); a model without one
  /// gets kPlain ("User: ...\n\nAssistant:") with a warning. Throws InputError for a template that is none of ours.
  explicit ChatTemplate(std::shared_ptr<const Tokenizer> tokenizer);

  ChatFormat format() const { return format_; }

  /// Tokens of the conversation, up to where the assistant's next answer starts when `open_answer`
  /// (the generation prompt), exactly as the model's declared template renders them, default system prompt included.
  /// Throws InputError for a role order that the format does not know.
  std::vector<int> encode(const std::vector<Message>& messages, bool open_answer) const;

  /// Tokens that end an answer in this format (e.g. <|im_end|>, <|eot_id|>, </s>); the first is the one appended in training.
  const std::vector<int>& stops() const { return stops_; }

  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  ChatFormat format_;
  std::vector<int> stops_;
  std::string default_system_;  // ChatML, Qwen: what the template puts in where no system message is given
  InstStyle inst_;              // Llama 2, Mistral
};

/// The tokenizer and chat format of a model's folder or file; `vocabulary`: the number of tokens that the model itself knows.
/// Throws InputError naming the path when the tokenizer has more than those, or ChatTemplate does not know the format.
ChatTemplate load_chat(const std::filesystem::path& model, std::int64_t vocabulary);

}  // namespace cai
