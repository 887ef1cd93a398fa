#include "cai/text/chat.hpp"

#include <algorithm>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

bool has(const std::string& text, const char* piece) { return text.find(piece) != text.npos; }

// A conversation as it is built: control tokens by id, and text between them encoded in one go, as the reference does.
class Rendering {
 public:
  explicit Rendering(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  Rendering& control(const char* name) {
    const auto id = tokenizer_.control(name);
    if (!id) return text(name);  // a template may spell a marker that is no token of its own (Zephyr's <|user|>)
    return token(*id);
  }
  Rendering& token(int id) {
    flush();
    tokens_.push_back(id);
    return *this;
  }
  Rendering& text(std::string_view t) {
    text_ += t;
    return *this;
  }
  std::vector<int> take() {
    flush();
    return std::move(tokens_);
  }

 private:
  const Tokenizer& tokenizer_;
  std::vector<int> tokens_;
  std::string text_;

  void flush() {
    if (text_.empty()) return;
    const std::vector<int> ids = tokenizer_.encode(text_);
    tokens_.insert(tokens_.end(), ids.begin(), ids.end());
    text_.clear();
  }
};

// The system prompt that a ChatML template puts in by itself: the literal between its own system markers. The line break
// after "system" is written as an escape in tokenizer_config.json and as itself in some GGUF files.
std::string literal_system(const std::string& source) {
  const std::string open = "<|im_start|>system", close = "<|im_end|>";
  for (std::size_t at = source.find(open); at != source.npos; at = source.find(open, at + 1)) {
    std::size_t from = at + open.size();
    if (source.compare(from, 1, "\n") == 0) from += 1;
    else if (source.compare(from, 2, "\\n") == 0) from += 2;
    else continue;
    const std::size_t to = source.find(close, from);
    if (to == source.npos) break;
    const std::string literal = source.substr(from, to - from);
    if (!literal.empty() && literal.find_first_of("'{\"\\") == literal.npos) return literal;
  }
  return "";
}

void check_roles(const std::vector<Message>& messages) {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant") throw InputError("chat role \"" + printable(role) + "\"; accepted: system, user, assistant");
    if (role == "system" && i > 0) throw InputError("a system message must come first");
  }
}

// Llama 2 and Mistral know strictly alternating turns, the first from the user.
void check_alternation(const std::vector<Message>& messages) {
  bool user = true;
  for (const Message& m : messages) {
    if (m.role == "system") continue;
    if ((m.role == "user") != user) throw InputError("this model's chat format needs user and assistant messages in turn");
    user = !user;
  }
}

}  // namespace

ChatTemplate::ChatTemplate(std::shared_ptr<const Tokenizer> tokenizer) : tokenizer_(std::move(tokenizer)) {
  const std::string source = tokenizer_->chat_template();
  const auto stop = [&](const char* name) {
    if (const auto id = tokenizer_->control(name)) stops_.push_back(*id);
  };
  if (source.empty()) {
    format_ = ChatFormat::kPlain;
    log_warning("this model declares no chat template; prompts are written as \"User: ... Assistant:\"");
  } else if (has(source, "<|im_start|>")) {
    format_ = has(source, "Qwen") || has(source, "<tool_call>") ? ChatFormat::kQwen : ChatFormat::kChatML;
    default_system_ = literal_system(source);
    stop("<|im_end|>");
    if (stops_.empty()) throw InputError("the chat template uses <|im_end|>, which is no token of this tokenizer");
  } else if (has(source, "<|start_header_id|>")) {
    format_ = ChatFormat::kLlama3;
    stop("<|eot_id|>"), stop("<|end_of_text|>");
  } else if (has(source, "[INST]")) {
    format_ = has(source, "<<SYS>>") ? ChatFormat::kLlama2 : ChatFormat::kMistral;
  } else if (has(source, "<|user|>") && has(source, "<|assistant|>")) {
    format_ = ChatFormat::kZephyr;
  } else {
    throw InputError("the model's chat template is none of ChatML, Qwen, Llama 2, Llama 3, Mistral, Zephyr");
  }
  if (const auto eos = tokenizer_->eos(); eos && std::find(stops_.begin(), stops_.end(), *eos) == stops_.end()) stops_.push_back(*eos);
  if (stops_.empty()) throw InputError("the tokenizer declares no end-of-text token, so an answer could never end");
}

std::vector<int> ChatTemplate::encode(const std::vector<Message>& messages, bool open_answer) const {
  check_roles(messages);
  Rendering out(*tokenizer_);
  const bool has_system = !messages.empty() && messages[0].role == "system";
  const std::string source = tokenizer_->chat_template();
  switch (format_) {
    case ChatFormat::kChatML:
    case ChatFormat::kQwen:
      if (!has_system && !default_system_.empty()) out.control("<|im_start|>").text("system\n" + default_system_).control("<|im_end|>").text("\n");
      for (const Message& m : messages) out.control("<|im_start|>").text(m.role + "\n" + m.content).control("<|im_end|>").text("\n");
      if (open_answer) out.control("<|im_start|>").text("assistant\n");
      break;
    case ChatFormat::kLlama3: {
      if (tokenizer_->bos()) out.token(*tokenizer_->bos());
      const auto turn = [&](const std::string& role) -> Rendering& { return out.control("<|start_header_id|>").text(role).control("<|end_header_id|>").text("\n\n"); };
      // The 3.1 template states dates before any system prompt; the date is the one that it falls back on.
      if (has(source, "Cutting Knowledge Date"))
        turn("system").text("Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n" + (has_system ? trim(messages[0].content) : "")).control("<|eot_id|>");
      for (const Message& m : messages) {
        if (m.role == "system" && has(source, "Cutting Knowledge Date")) continue;
        turn(m.role).text(trim(m.content)).control("<|eot_id|>");
      }
      if (open_answer) turn("assistant");
      break;
    }
    case ChatFormat::kLlama2:
    case ChatFormat::kMistral: {
      check_alternation(messages);
      const bool llama = format_ == ChatFormat::kLlama2;
      std::string system = has_system ? (llama ? "<<SYS>>\n" + messages[0].content + "\n<</SYS>>\n\n" : messages[0].content + "\n\n") : "";
      if (!llama && tokenizer_->bos()) out.token(*tokenizer_->bos());
      for (const Message& m : messages) {
        if (m.role == "system") continue;
        if (m.role == "user") {
          if (llama && tokenizer_->bos()) out.token(*tokenizer_->bos());
          out.control("[INST]").text(" " + (llama ? trim(system + m.content) : system + m.content) + (llama ? " " : " ")).control("[/INST]");
          system.clear();
        } else {
          out.text(" " + trim(m.content) + (llama ? " " : "")).token(stops_.front());
        }
      }
      break;
    }
    case ChatFormat::kZephyr:
      for (const Message& m : messages) out.control(("<|" + m.role + "|>").c_str()).text("\n" + m.content).token(stops_.front()).text("\n");
      if (open_answer) out.control("<|assistant|>").text("\n");
      break;
    case ChatFormat::kPlain:
      if (tokenizer_->adds_bos() && tokenizer_->bos()) out.token(*tokenizer_->bos());
      for (const Message& m : messages) {
        if (m.role == "assistant") out.text("Assistant: " + m.content).token(stops_.front()).text("\n\n");
        else out.text((m.role == "user" ? "User: " : "") + m.content + "\n\n");
      }
      if (open_answer) out.text("Assistant:");
      break;
  }
  return out.take();
}

}  // namespace cai
