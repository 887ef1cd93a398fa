#include "cai/text/chat.hpp"

#include <algorithm>
#include <mutex>
#include <optional>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/io/adapter_folder.hpp"
#include "cai/io/file.hpp"
#include "cai/text/added_tokens.hpp"
#include "cai/text/bpe.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

// For a model that declares no template.
std::string plain_template(const Tokenizer& tokenizer) {
  const char* bos = tokenizer.adds_bos() && tokenizer.bos() ? "{{ bos_token }}" : "";
  return std::string(bos) +
         "{% for message in messages %}{% if message.role == 'assistant' %}{{ 'Assistant: ' + "
         "message.content + eos_token + '\\n\\n' }}"
         "{% elif message.role == 'user' %}{{ 'User: ' + message.content + '\\n\\n' }}{% else %}{{ "
         "message.content + '\\n\\n' }}{% endif %}{% endfor %}"
         "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";
}

std::string source_of(const Tokenizer& tokenizer) {
  if (const std::string declared = tokenizer.chat_template(); !declared.empty()) return declared;
  log_warning("this model declares no chat template; prompts are written as \"User: ... Assistant:\"");
  return plain_template(tokenizer);
}

void check_roles(const std::vector<Message>& messages) {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant")
      throw InputError("chat role " + in_quotes(role) + "; accepted: system, user, assistant");
    if (role == "system" && i > 0) throw InputError("a system message must come first");
  }
}

std::string text_of(const std::vector<TextPart>& parts) {
  std::string all;
  for (const TextPart& part : parts)
    all += part.text;
  return all;
}

// One token or a list of them, as generation_config.json and config.json state eos_token_id.
void add_ids(const Json& config, std::vector<int>& ids) {
  const auto found = config.find("eos_token_id");
  if (found == config.end()) return;
  for (const Json& id : found->is_array() ? *found : Json::array({*found}))
    if (id.is_number_integer() && id.get<std::int64_t>() >= 0 && id.get<std::int64_t>() < 100'000'000)
      ids.push_back(id.get<int>());
}

Json object_in(const fs::path& file) {
  if (!fs::exists(file)) return Json::object();
  Json json = parse_json(read_file(file), file.string());
  if (!json.is_object()) throw InputError(file.string(), 1, "not a JSON object");
  return json;
}

// A model is loaded by many stages of a run; what it needs to be told once is told once.
void say_once(const std::string& line) {
  static std::mutex mutex;
  static std::set<std::string> said;
  const std::lock_guard lock(mutex);
  if (said.insert(line).second) log_info(line);
}

constexpr const char* kProbe = "Probe";

}  // namespace

ChatTemplate::ChatTemplate(std::shared_ptr<const Tokenizer> tokenizer, const Json& generation,
                           const std::vector<int>& ends)
    : tokenizer_(std::move(tokenizer)),
      source_(source_of(*tokenizer_)),
      template_(source_),
      generation_(generation) {
  render({{"user", kProbe}}, true);  // the least that a template must do
  refuses_system_ = !keeps_system();
  find_thinking();
  find_join();
  find_stops(ends);
}

std::vector<TextPart> ChatTemplate::render(const std::vector<Message>& messages, bool open_answer,
                                           bool thinking) const {
  Json variables = Json::object();
  for (const auto& [name, text] : tokenizer_->named_tokens())
    variables[name] = text;
  variables["messages"] = Json::array();
  for (const Message& m : messages)
    variables["messages"].push_back({{"role", m.role}, {"content", m.content}});
  variables["add_generation_prompt"] = open_answer;
  variables["enable_thinking"] = thinking;
  variables["tools"] = nullptr;
  variables["documents"] = nullptr;
  return template_.render(variables);
}

bool ChatTemplate::keeps_system() const {
  try {
    return text_of(render({{"system", "Instruction"}, {"user", kProbe}}, true)).find("Instruction") !=
           std::string::npos;
  } catch (const InputError&) {
    return false;
  }
}

std::vector<Message> ChatTemplate::without_system(const std::vector<Message>& messages) const {
  if (!refuses_system_ || messages.empty() || messages[0].role != "system") return messages;
  say_once(
      "this model's chat template has no system messages; their text goes in front of the first user "
      "message");
  std::vector<Message> rest(messages.begin() + 1, messages.end());
  if (rest.empty() || rest[0].role != "user") rest.insert(rest.begin(), {"user", ""});
  rest[0].content =
      rest[0].content.empty() ? messages[0].content : messages[0].content + "\n\n" + rest[0].content;
  return rest;
}

// A template that knows enable_thinking writes an empty block of thoughts, or leaves the opening one out. One
// that opens a block whatever it is told gets it closed.
void ChatTemplate::find_thinking() {
  const std::string off = text_of(render({{"user", kProbe}}, true)),
                    on = text_of(render({{"user", kProbe}}, true, true));
  opens_thinking_ = trim(off).ends_with("<think>");
  if (off != on || opens_thinking_)
    say_once("this model can think before it answers; its prompts end so that it answers at once");
}

std::vector<int> ChatTemplate::encode(const std::vector<Message>& messages, bool open_answer) const {
  check_roles(messages);
  std::vector<TextPart> parts = render(without_system(messages), open_answer);
  if (open_answer && opens_thinking_)
    parts.push_back({text_of(parts).ends_with('\n') ? "\n</think>\n\n" : "\n\n</think>\n\n"});
  return encode_parts(*tokenizer_, parts);
}

// Where an answer joins on. A tokenizer of sentencepiece puts a space before a text, so "answer" by itself
// has other tokens than behind a prompt.
void ChatTemplate::find_join() {
  std::vector<int> apart = tokenizer_->encode("\n"), letter = tokenizer_->encode("a");
  apart.insert(apart.end(), letter.begin(), letter.end());
  space_first_ = tokenizer_->encode("\na") != apart;
  if (!space_first_) return;
  const std::string prompt = text_of(render({{"user", kProbe}}, true));
  AddedTokens(tokenizer_->controls())
      .split(
          prompt, [](std::size_t, std::size_t) { return true; },
          [&](std::string_view piece, std::size_t) { before_answer_ = piece; },
          [&](const AddedToken&) { before_answer_.clear(); });
  try {
    const std::string whole = text_of(render({{"user", kProbe}, {"assistant", "Answer"}}, false));
    const std::size_t at = whole.rfind("Answer");
    if (whole.starts_with(prompt) && at != whole.npos && at >= prompt.size())
      between_ = whole.substr(prompt.size(), at - prompt.size());
  } catch (const InputError&) {  // a template that renders no answers
  }
}

std::vector<int> ChatTemplate::encode_answer(std::string_view text) const {
  if (!space_first_) return tokenizer_->encode(text);
  if (text.empty()) return {};
  const std::vector<int> prompt = tokenizer_->encode_behind(before_answer_);
  std::vector<int> tokens = tokenizer_->encode_behind(before_answer_ + between_ + std::string(text));
  if (tokens.size() < prompt.size() || !std::equal(prompt.begin(), prompt.end(), tokens.begin()))
    return tokenizer_->encode_behind(between_ + std::string(text));
  tokens.erase(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(prompt.size()));
  return tokens;
}

// The control token behind an answer.
std::optional<int> ChatTemplate::end_of_turn() const {
  const std::string answer = "Answer that ends here";
  const std::vector<TextPart> parts = render({{"user", kProbe}, {"assistant", answer}}, false);
  std::string behind = text_of(parts);
  const std::size_t at = behind.rfind(answer);
  if (at == behind.npos) return std::nullopt;
  behind.erase(0, at + answer.size());
  const std::vector<int> tokens = encode_parts(*tokenizer_, std::vector<TextPart>{{behind}});
  const auto found =
      std::find_if(tokens.begin(), tokens.end(), [&](int token) { return tokenizer_->is_control(token); });
  return found == tokens.end() ? std::nullopt : std::optional(*found);
}

void ChatTemplate::find_stops(const std::vector<int>& ends) {
  const auto add = [&](std::optional<int> token) {
    if (!token || *token < 0 || *token >= tokenizer_->vocabulary()) return;
    if (std::find(stops_.begin(), stops_.end(), *token) == stops_.end()) stops_.push_back(*token);
  };
  try {
    add(end_of_turn());
  } catch (
      const InputError&) {  // a template that renders no finished conversation: what the files name is left
  }
  if (source_.find("<|eot_id|>") != source_.npos)  // Llama 3 ends texts with one token and turns with another
    for (const char* name : {"<|eot_id|>", "<|end_of_text|>"})
      add(tokenizer_->control(name));
  add(tokenizer_->eos());
  std::vector<int> more = tokenizer_->other_ends();
  add_ids(generation_, more);
  more.insert(more.end(), ends.begin(), ends.end());
  for (const int token : more)
    add(token);
  if (stops_.empty())
    throw InputError("the tokenizer declares no end-of-text token, so an answer could never end");
}

void ChatTemplate::save(const fs::path& folder) const {
  tokenizer_->save(folder);
  const fs::path file = folder / "tokenizer_config.json";
  Json config = object_in(file);
  if (template_of(config, file.string()).empty()) {
    config["chat_template"] = source_;
    write_file(file, config.dump(2) + "\n");
  }
  Json generation = generation_;
  if (tokenizer_->bos()) generation["bos_token_id"] = *tokenizer_->bos();
  generation["eos_token_id"] = stops_.size() == 1 ? Json(stops_.front()) : Json(stops_);
  write_file(folder / "generation_config.json", generation.dump(2) + "\n");
}

Answered split_thinking(std::string_view text) {
  const std::string_view open = "<think>", close = "</think>";
  const std::size_t end = text.rfind(close);
  std::size_t begin = text.find_first_not_of(" \t\r\n");
  const bool opened = begin != text.npos && text.substr(begin).starts_with(open);
  if (opened)
    begin += open.size();
  else
    begin = 0;
  if (end == text.npos)
    return opened ? Answered{trim(text.substr(begin)), ""} : Answered{"", std::string(text)};
  return {trim(text.substr(begin, std::max(begin, end) - begin)), trim(text.substr(end + close.size()))};
}

ChatTemplate load_chat(const fs::path& path, std::int64_t vocabulary) {
  const auto& [model, adapter] = parts_of_model(path);
  const bool has_own = !adapter.empty() && fs::exists(adapter / "tokenizer.json");
  std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(has_own ? adapter : model, vocabulary);
  if (tokenizer->vocabulary() > vocabulary)
    throw InputError(model.string(), 0,
                     "the tokenizer has " + std::to_string(tokenizer->vocabulary()) +
                         " tokens, the model knows " + std::to_string(vocabulary));
  Json generation = Json::object();
  std::vector<int> ends;
  if (fs::is_directory(model)) {
    generation = object_in(model / "generation_config.json");
    add_ids(object_in(model / "config.json"), ends);
  }
  try {
    return ChatTemplate(std::move(tokenizer), generation, ends);
  } catch (const InputError& e) {
    throw InputError(model.string(), 0, e.what());
  }
}

}  // namespace cai
