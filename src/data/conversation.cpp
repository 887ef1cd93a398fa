#include "cai/data/conversation.hpp"

#include <algorithm>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

constexpr std::string_view kHuman = "\n\nHuman:", kAssistant = "\n\nAssistant:";

std::string role_of(const std::string& name) {
  static const std::map<std::string, std::string> roles = {
      {"user", "user"},     {"human", "user"},      {"prompter", "user"},     {"assistant", "assistant"},
      {"gpt", "assistant"}, {"bot", "assistant"},   {"chatgpt", "assistant"}, {"model", "assistant"},
      {"system", "system"}, {"developer", "system"}};
  const auto found = roles.find(lower_ascii(name));
  if (found != roles.end()) return found->second;
  throw InputError("a message of the role " + in_quotes(name) +
                   "; accepted: user (or human), assistant (or gpt), system");
}

std::string part_text(const Json& part) {
  if (part.is_string()) return part.get<std::string>();
  const bool has_type = part.is_object() && part.contains("type") && part["type"].is_string();
  const bool is_text = part.is_object() && part.contains("text") && part["text"].is_string();
  if (is_text && (!has_type || part["type"] == "text")) return part["text"].get<std::string>();
  const std::string type = has_type ? in_quotes(part["type"].get<std::string>()) : "none";
  throw InputError("a message has a part of the type " + type + "; accepted: text");
}

// A message's content: a text, text parts, or nothing.
std::string content_text(const Json& content) {
  if (content.is_null()) return "";
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) throw InputError("a message's content is neither a text nor a list of parts");
  std::string text;
  for (const Json& part : content)
    text += (text.empty() ? "" : "\n") + part_text(part);
  return text;
}

bool is_message(const Json& m) {
  const auto has_text = [&](const char* field) { return m.contains(field) && m[field].is_string(); };
  return m.is_object() &&
         ((has_text("role") && m.contains("content")) || (has_text("from") && m.contains("value")));
}

Turn turn_of(const Json& m) {
  const bool is_sharegpt = !m.contains("role") || !m.contains("content");
  Turn turn{role_of(m[is_sharegpt ? "from" : "role"].get<std::string>()),
            trim(content_text(m[is_sharegpt ? "value" : "content"]))};
  if (turn.role == "assistant") turn.text = without_thinking(turn.text);
  return turn;
}

}  // namespace

bool are_turns(const Json& value) {
  return is_message(value) ||
         (value.is_array() && !value.empty() && std::all_of(value.begin(), value.end(), is_message));
}

std::vector<Turn> turns_of(const Json& value) {
  std::vector<Turn> turns;
  if (is_message(value)) return {turn_of(value)};
  for (const Json& message : value)
    turns.push_back(turn_of(message));
  if (turns.empty()) throw InputError("an empty list of messages");
  return turns;
}

bool is_transcript(const std::string& text) {
  return trim(text).starts_with("Human:") && text.find(kAssistant) != text.npos;
}

std::vector<Turn> turns_of_transcript(const std::string& text) {
  const std::string all = "\n\n" + trim(text);
  std::vector<Turn> turns;
  for (std::size_t at = 0; at < all.size();) {
    const bool is_human = all.compare(at, kHuman.size(), kHuman) == 0;
    const std::size_t from = at + (is_human ? kHuman : kAssistant).size();
    at = std::min({all.find(kHuman, from), all.find(kAssistant, from), all.size()});
    turns.push_back({is_human ? "user" : "assistant", trim(std::string_view(all).substr(from, at - from))});
  }
  if (turns.back().role == "assistant") turns.back().text = without_thinking(turns.back().text);
  return turns;
}

std::string as_prompt(const std::vector<Turn>& turns) {
  if (turns.size() == 1 && turns[0].role == "user") return turns[0].text;
  std::string text;
  for (const Turn& turn : turns) {
    text += text.empty() ? "" : "\n\n";
    text += (turn.role == "user"        ? "Human: "
             : turn.role == "assistant" ? "Assistant: "
                                        : "System: ") +
            turn.text;
  }
  return text;
}

std::string without_thinking(const std::string& answer) {
  const std::string text = trim(answer);
  for (const std::string name : {"think", "thinking"}) {
    const std::size_t begin = text.find("<" + name + ">"), end = text.find("</" + name + ">");
    const bool is_opened = begin == 0, is_ended = end != text.npos;
    // Templates that open the block themselves leave only its end in the answer.
    if (is_ended && (is_opened || begin > end))
      return trim(std::string_view(text).substr(end + name.size() + 3));
    if (is_opened) return "";  // never closed
  }
  return answer;
}

std::vector<Turn> asked_turns(const Json& record) {
  for (const char* field : {"prompt", "messages", "conversations", "conversation"}) {
    const auto value = record.find(field);
    if (value == record.end() || value->is_null()) continue;
    const std::string name = "field \"" + std::string(field) + "\"";
    std::vector<Turn> turns;
    if (value->is_string()) {
      const std::string text = value->get<std::string>();
      if (!is_transcript(text)) return {{"user", text}};
      turns = turns_of_transcript(text);
    } else if (are_turns(*value)) {
      turns = turns_of(*value);
    } else {
      throw InputError(name +
                       " must be a text or a list of messages ({\"role\": \"user\", \"content\": \"...\"})");
    }
    while (!turns.empty() && turns.back().role != "user")
      turns.pop_back();
    if (turns.empty()) throw InputError(name + " holds no message of the user");
    return turns;
  }
  return {};
}

}  // namespace cai
