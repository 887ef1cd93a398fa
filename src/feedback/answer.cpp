#include "cai/feedback/answer.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <limits>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

constexpr std::size_t kMostTop = 100;  // servers give up to 20

// Control tokens that some servers leave in the text. Looked for at the end of what is kept, in one pass: taking one out never
// puts another one together, and a text full of them takes no longer than another.
std::string without_control_tokens(const std::string& text) {
  static constexpr std::string_view names[] = {"<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|start_header_id|>", "<|end_header_id|>", "<s>", "</s>"};
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    out += c;
    if (c != '>') continue;
    for (const std::string_view name : names)
      if (out.ends_with(name)) {
        out.resize(out.size() - name.size());
        break;
      }
  }
  return out;
}

// The member of that name, or null when `j` is no object or has none.
const Json& member(const Json& j, const char* name) {
  static const Json nothing;
  if (!j.is_object()) return nothing;
  const auto it = j.find(name);
  return it == j.end() ? nothing : *it;
}

const Json& first(const Json& j) {
  static const Json nothing;
  return j.is_array() && !j.empty() ? j.front() : nothing;
}

std::int64_t count_of(const Json& usage, const char* name) {
  const Json& n = member(usage, name);
  return n.is_number() ? static_cast<std::int64_t>(std::clamp(n.get<double>(), 0.0, 1e9)) : -1;
}

void read_top(const Json& choice, ChatAnswer& answer) {
  const auto add = [&](const std::string& token, double log_probability) {
    if (answer.top.size() < kMostTop) answer.top.emplace_back(token.substr(0, 100), std::min(0.0, log_probability));
  };
  const Json& found = member(choice, "logprobs");
  if (const Json& one = first(member(found, "content")); one.is_object()) {
    answer.has_top = true;
    const Json& list = member(one, "top_logprobs");
    if (list.is_array())
      for (const Json& t : list)
        if (member(t, "token").is_string() && member(t, "logprob").is_number()) add(t["token"].get<std::string>(), t["logprob"].get<double>());
  } else if (const Json& older = first(member(found, "top_logprobs")); older.is_object()) {  // {token: log-probability}
    answer.has_top = true;
    for (const auto& [token, value] : older.items())
      if (value.is_number()) add(token, value.get<double>());
  }
}

}  // namespace

ChatAnswer parse_chat_answer(std::string_view body) {
  ChatAnswer answer;
  Json json;
  try {
    json = parse_json(body, "answer");
  } catch (const Error& e) {
    answer.problem = std::string("malformed answer: ") + e.what();
    return answer;
  }
  answer.prompt_tokens = count_of(member(json, "usage"), "prompt_tokens");
  answer.tokens = count_of(member(json, "usage"), "completion_tokens");
  const Json& choice = first(member(json, "choices"));
  const Json& message = member(choice, "message");
  if (!message.is_object()) {
    answer.problem = "malformed answer: no choices[0].message";
    return answer;
  }
  if (const Json& content = member(message, "content"); content.is_string()) answer.text = without_control_tokens(content.get<std::string>());
  if (const Json& reason = member(choice, "finish_reason"); reason == "length" || reason == "max_tokens") answer.finish = "length";
  else if (reason == "content_filter") answer.finish = "error: content filter";
  read_top(choice, answer);
  return answer;
}

std::vector<double> option_log_probabilities(const ChatAnswer& answer, const std::vector<std::string>& options) {
  if (!answer.has_top) return {};
  std::vector<double> logs;
  for (const std::string& option : options) {
    double p = 0;
    for (const auto& [token, log_probability] : answer.top)
      if (trim(token) == trim(option)) p += std::exp(log_probability);
    logs.push_back(p > 0 ? std::min(0.0, std::log(p)) : -std::numeric_limits<double>::infinity());
  }
  return logs;
}

std::string error_words(std::string_view body) {
  try {
    const Json answer = parse_json(body, "answer");
    const Json& error = member(answer, "error");
    const Json& words = error.is_object() ? member(error, "message") : error;
    if (words.is_string()) return words.get<std::string>();
    if (member(answer, "detail").is_string()) return answer["detail"].get<std::string>();  // vLLM and others of its kind
  } catch (const Error&) {
  }
  return "";
}

std::string cut_utf8(std::string text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xc0) == 0x80) --bytes;
  text.resize(bytes);
  return text;
}

double retry_after_seconds(const std::string& header, double most) {
  if (header.empty()) return 0;
  if (header.find_first_not_of("0123456789.") == header.npos && header.size() < 12) return std::min(std::atof(header.c_str()), most);
  const std::time_t date = curl_getdate(header.c_str(), nullptr);
  return date < 0 ? 0 : std::clamp(std::difftime(date, std::time(nullptr)), 0.0, most);
}

Json to_json(const ChatAnswer& a) {
  Json record = {{"text", a.text}, {"finish", a.finish}, {"prompt_tokens", a.prompt_tokens}, {"tokens", a.tokens}};
  if (a.has_top) {
    record["top"] = Json::array();
    for (const auto& [token, log_probability] : a.top) record["top"].push_back({{"token", token}, {"log_probability", log_probability}});
  }
  return record;
}

ChatAnswer chat_answer_of(const Json& record) {
  try {
    ChatAnswer a;
    a.text = record.at("text").get<std::string>();
    a.finish = record.at("finish").get<std::string>();
    a.prompt_tokens = record.at("prompt_tokens").get<std::int64_t>(), a.tokens = record.at("tokens").get<std::int64_t>();
    a.has_top = record.contains("top");
    if (a.has_top)
      for (const Json& t : record["top"]) a.top.emplace_back(t.at("token").get<std::string>(), t.at("log_probability").get<double>());
    return a;
  } catch (const Json::exception&) {
    throw InputError("not an answer; expected text, finish, prompt_tokens, tokens, top [{token, log_probability}]");
  }
}

}  // namespace cai
