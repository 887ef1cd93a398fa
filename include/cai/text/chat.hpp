// Chat templates: messages to tokens, by what the model declares. Text from users can never become a control
// token.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cai/io/json.hpp"
#include "cai/text/jinja.hpp"
#include "cai/text/tokenizer.hpp"

namespace cai {

struct Message {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

class ChatTemplate {
 public:
  /// A model without a template gets "User: ...\n\nAssistant:", with a warning. `generation`: the model's
  /// generation_config.json, or an empty object; `ends`: further tokens that end its answers. Throws
  /// InputError for a template that cannot be rendered, and where no answer could ever end.
  explicit ChatTemplate(std::shared_ptr<const Tokenizer> tokenizer, const Json& generation = Json::object(),
                        const std::vector<int>& ends = {});

  /// Tokens of the conversation, up to where the assistant's next answer starts when `open_answer` (the
  /// generation prompt), as the model's template renders them with enable_thinking false, default system
  /// prompt included. A template that refuses system messages gets their text in front of the first user
  /// message. Throws InputError for a role order that the template refuses.
  std::vector<int> encode(const std::vector<Message>& messages, bool open_answer) const;

  /// Tokens of an answer, or of the words that one begins with, as they follow encode(..., true).
  std::vector<int> encode_answer(std::string_view text) const;

  /// Tokens that end an answer (e.g. <|im_end|>, <|eot_id|>, </s>); the first is the one appended in
  /// training.
  const std::vector<int>& stops() const { return stops_; }

  const Tokenizer& tokenizer() const { return *tokenizer_; }

  /// tokenizer().save(), and what only the chat knows: the template of a model that had none, all of stops()
  /// and the model's defaults of sampling in generation_config.json.
  void save(const std::filesystem::path& folder) const;

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::string source_;
  JinjaTemplate template_;
  Json generation_;
  std::vector<int> stops_;
  bool refuses_system_ = false, opens_thinking_ = false;
  bool space_first_ = false;             // the tokenizer puts a space before a text, but not within one
  std::string before_answer_, between_;  // text behind the prompt's last control token; what the template
                                         // writes between it and the answer

  std::vector<TextPart> render(const std::vector<Message>& messages, bool open_answer,
                               bool thinking = false) const;
  std::vector<Message> without_system(const std::vector<Message>& messages) const;
  bool keeps_system() const;
  void find_thinking();
  std::optional<int> end_of_turn() const;
  void find_join();
  void find_stops(const std::vector<int>& ends);
};

/// An answer and the thinking before it (<think> ... </think>). Where the thinking has no end, all of it is
/// thinking.
struct Answered {
  std::string thinking, answer;
};
Answered split_thinking(std::string_view text);

/// The tokenizer and chat template of a model's folder or file; `vocabulary`: the number of tokens that the
/// model itself knows. Its generation_config.json and config.json say what else ends an answer. Throws
/// InputError naming the path when the tokenizer has more tokens than those, or for the template.
ChatTemplate load_chat(const std::filesystem::path& model, std::int64_t vocabulary);

}  // namespace cai
