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

// The Jinja expression {{ ... }} around position `at`.
std::string expression_at(const std::string& source, std::size_t at) {
  const std::size_t open = source.rfind("{{", at), close = source.find("}}", at);
  return at == source.npos || open == source.npos || close == source.npos ? "" : source.substr(open + 2, close - open - 2);
}

// The terms of a sum of literals and variables: "' ' + content.strip() + eos_token". A literal keeps its quotes.
std::vector<std::string> terms(const std::string& expression) {
  std::vector<std::string> found(1);
  char quote = 0;
  for (const char c : expression) {
    if (quote == 0 && c == '+') {
      found.emplace_back();
      continue;
    }
    if (quote == 0 && (c == '\'' || c == '"')) quote = c;
    else if (c == quote) quote = 0;
    found.back() += c;
  }
  for (std::string& term : found) {
    while (!term.empty() && (term.front() == '-' || term.front() == ' ' || term.front() == '\n')) term.erase(term.begin());
    while (!term.empty() && (term.back() == '-' || term.back() == ' ' || term.back() == '\n')) term.pop_back();
  }
  return found;
}

bool is_literal(const std::string& term) { return term.size() >= 2 && (term[0] == '\'' || term[0] == '"') && term.back() == term[0]; }
bool trims(const std::string& term) { return has(term, "trim") || has(term, "strip"); }

// Models of the [INST] family declare their spaces in the literals of two expressions: the user's turn ("... [/INST]")
// and the answer ("... eos_token").
InstStyle read_inst_style(const std::string& source) {
  InstStyle style;
  bool has_user = false, has_answer = false;
  for (const std::string& term : terms(expression_at(source, source.rfind("[/INST]")))) {
    if (!is_literal(term)) {
      if (has(term, "bos_token")) style.bos_each_turn = true;
      else if (has(term, "content")) style.trims_user = trims(term);
      continue;
    }
    const std::string text = term.substr(1, term.size() - 2);
    if (has(text, "[/INST]")) style.close = text, has_user = !style.open.empty();
    else if (has(text, "[INST]")) style.open = text;
  }
  bool ended = false;
  for (const std::string& term : terms(expression_at(source, source.rfind("eos_token")))) {
    if (is_literal(term)) (ended ? style.last : has_answer ? style.after : style.before) = term.substr(1, term.size() - 2);
    else if (has(term, "eos_token")) ended = true;
    else if (has(term, "content")) has_answer = true, style.trims_answer = trims(term);
  }
  if (!has_user || !has_answer || !ended)
    throw InputError("the model's chat template has [INST] but not the turns of Llama 2 or Mistral: \"[INST]\" + content + \"[/INST]\", content + eos_token");
  const std::size_t system = source.find("system_message is defined");
  style.system_in_last_turn = system != source.npos && source.find("loop.last and") != source.npos;
  return style;
}

void check_roles(const std::vector<Message>& messages) {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant") throw InputError("chat role " + in_quotes(role) + "; accepted: system, user, assistant");
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
    for (const char* name : {"<|im_start|>", "<|im_end|>"})
      if (!tokenizer_->control(name)) throw InputError(std::string("the chat template uses ") + name + ", which is no token of this tokenizer");
  } else if (has(source, "<|start_header_id|>")) {
    format_ = ChatFormat::kLlama3;
    stop("<|eot_id|>"), stop("<|end_of_text|>");
    for (const char* name : {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"})
      if (!tokenizer_->control(name)) throw InputError(std::string("the chat template uses ") + name + ", which is no token of this tokenizer");
  } else if (has(source, "[INST]") && !has(source, "[SYSTEM_PROMPT]")) {
    format_ = has(source, "<<SYS>>") ? ChatFormat::kLlama2 : ChatFormat::kMistral;
    inst_ = read_inst_style(source);
  } else if (has(source, "<|user|>") && has(source, "<|assistant|>") && has(source, "eos_token")) {
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
      const std::string system = !has_system ? "" : llama ? "<<SYS>>\n" + messages[0].content + "\n<</SYS>>\n\n" : messages[0].content + "\n\n";
      std::size_t first = has_system ? 1 : 0, last = messages.size();
      while (last > first && messages[last - 1].role != "user") --last;
      const std::size_t with_system = inst_.system_in_last_turn ? last - 1 : first;
      const auto marked = [&](const std::string& literal, const char* marker) {
        const std::size_t at = literal.find(marker);
        out.text(literal.substr(0, at)).control(marker).text(literal.substr(at + std::string_view(marker).size()));
      };
      if (!inst_.bos_each_turn && tokenizer_->bos()) out.token(*tokenizer_->bos());
      for (std::size_t i = first; i < messages.size(); ++i) {
        const std::string& content = messages[i].content;
        if (messages[i].role == "assistant") {
          out.text(inst_.before + (inst_.trims_answer ? trim(content) : content) + inst_.after).token(stops_.front()).text(inst_.last);
          continue;
        }
        const std::string text = i == with_system ? system + content : content;
        if (inst_.bos_each_turn && tokenizer_->bos()) out.token(*tokenizer_->bos());
        marked(inst_.open, "[INST]");
        out.text(inst_.trims_user ? trim(text) : text);
        marked(inst_.close, "[/INST]");
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

ChatTemplate load_chat(const std::filesystem::path& model, std::int64_t vocabulary) {
  std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(model);
  if (tokenizer->vocabulary() > vocabulary)
    throw InputError(model.string(), 0, "the tokenizer has " + std::to_string(tokenizer->vocabulary()) + " tokens, the model knows " + std::to_string(vocabulary));
  try {
    return ChatTemplate(std::move(tokenizer));
  } catch (const InputError& e) {
    throw InputError(model.string(), 0, e.what());
  }
}

}  // namespace cai
