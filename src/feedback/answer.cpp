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

constexpr std::size_t kMostTop = 100;    // servers give up to 20
constexpr std::size_t kMostTokens = 16;  // an option stands within the first few

// Control tokens that some servers leave in the text. Looked for at the end of what is kept, in one pass:
// taking one out never puts another one together, and a text full of them takes no longer than another.
std::string without_control_tokens(const std::string& text) {
  static constexpr std::string_view names[] = {"<|im_start|>",      "<|im_end|>",    "<|eot_id|>",
                                               "<|end_of_text|>",   "<|endoftext|>", "<|start_header_id|>",
                                               "<|end_header_id|>", "<s>",           "</s>"};
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

using TopTokens = std::vector<std::pair<std::string, double>>;

void add_top(TopTokens& top, const std::string& token, const Json& log_probability) {
  if (log_probability.is_number() && top.size() < kMostTop)
    top.emplace_back(token.substr(0, 100), std::min(0.0, log_probability.get<double>()));
}

AnswerToken shown_token(const Json& one) {
  AnswerToken shown;
  if (const Json& token = member(one, "token"); token.is_string())
    shown.token = token.get<std::string>().substr(0, 100);
  const Json& list = member(one, "top_logprobs");
  if (!list.is_array()) return shown;
  for (const Json& t : list)
    if (member(t, "token").is_string())
      add_top(shown.top, t["token"].get<std::string>(), member(t, "logprob"));
  return shown;
}

void read_tokens(const Json& choice, ChatAnswer& answer) {
  const Json& found = member(choice, "logprobs");
  if (const Json& content = member(found, "content"); first(content).is_object()) {
    for (const Json& one : content)
      if (one.is_object() && answer.tokens_shown.size() < kMostTokens)
        answer.tokens_shown.push_back(shown_token(one));
  } else if (const Json& older = first(member(found, "top_logprobs"));
             older.is_object()) {  // {token: log-probability}
    answer.tokens_shown.emplace_back();
    for (const auto& [token, value] : older.items())
      add_top(answer.tokens_shown[0].top, token, value);
  }
}

// Moves a <think> block at the beginning of the text to `reasoning`.
void part_thoughts(ChatAnswer& answer) {
  static constexpr std::string_view kBegin = "<think>", kEnd = "</think>";
  const std::size_t begin = answer.text.find_first_not_of(" \t\r\n"), end = answer.text.find(kEnd);
  const bool opens =
      begin != std::string::npos && std::string_view(answer.text).substr(begin).starts_with(kBegin);
  if (end !=
      std::string::npos) {  // some templates open the block in the prompt: then only its end is in the answer
    const std::size_t from = opens ? begin + kBegin.size() : 0;
    answer.reasoning += trim(answer.text.substr(from, end - from));
    answer.text.erase(0, end + kEnd.size());
  } else if (opens) {
    answer.reasoning += trim(answer.text.substr(begin + kBegin.size()));
    answer.text.clear();
    answer.is_thinking = true;
  }
}

// The text of an answer: a string, or a list of parts.
std::string content_text(const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  if (content.is_array())
    for (const Json& part : content)
      if (const Json& words = member(part, "text"); words.is_string()) text += words.get<std::string>();
  return text;
}

void read_message(const Json& message, const Json& usage, ChatAnswer& answer) {
  answer.text = without_control_tokens(content_text(member(message, "content")));
  for (const char* name : {"reasoning_content", "reasoning"})
    if (const Json& words = member(message, name); words.is_string() && answer.reasoning.empty())
      answer.reasoning = words.get<std::string>();
  part_thoughts(answer);
  if (const Json& words = member(message, "refusal"); words.is_string() && answer.text.empty())
    answer.text = without_control_tokens(words.get<std::string>());
  const bool has_thought = !answer.reasoning.empty() ||
                           count_of(member(usage, "completion_tokens_details"), "reasoning_tokens") > 0;
  if (answer.text.empty() && answer.finish == "length" && has_thought) answer.is_thinking = true;
}

// Spaces, as tokenizers write them too ("\u0120A", "\u2581B"), cut from both ends.
std::string bare(std::string token) {
  for (const std::string_view mark : {"\xc4\xa0", "\xe2\x96\x81"})
    if (token.starts_with(mark)) token.erase(0, mark.size());
  return trim(token);
}

std::string without_markup(const std::string& text) {
  std::string plain;
  for (const char c : text)
    if (std::string_view("*_`\"'()[]{}#>").find(c) == std::string_view::npos) plain += c;
  return trim(plain);
}

// Whether an option may still come behind these words: nothing but markup, or the beginning of the opening.
bool leads_to_option(const std::string& said, const std::string& opening) {
  return lower_ascii(trim(opening)).starts_with(lower_ascii(without_markup(said)));
}

OptionReading read_at(const AnswerToken& place, const std::vector<std::string>& options) {
  OptionReading reading;
  double shown = 0, least = 0;
  for (const auto& [token, log_probability] : place.top)
    shown += std::exp(log_probability), least = std::min(least, log_probability);
  const double bound = std::min(least, std::log(std::max(1 - shown, 1e-9)));
  for (const std::string& option : options) {
    double p = 0;
    for (const auto& [token, log_probability] : place.top)
      if (bare(token) == trim(option)) p += std::exp(log_probability);
    reading.mass += p;
    reading.log_probabilities.push_back(p > 0 ? std::min(0.0, std::log(p)) : bound);
  }
  reading.mass = std::min(reading.mass, 1.0);
  return reading;
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
  if (const Json& reason = member(choice, "finish_reason"); reason == "length" || reason == "max_tokens")
    answer.finish = "length";
  else if (reason == "content_filter")
    answer.finish = "error: content filter";
  read_message(message, member(json, "usage"), answer);
  read_tokens(choice, answer);
  return answer;
}

OptionReading read_options(const ChatAnswer& answer, const std::vector<std::string>& options,
                           const std::string& opening) {
  OptionReading best;
  std::string said;
  for (const AnswerToken& place : answer.tokens_shown) {
    OptionReading here = read_at(place, options);
    if (best.log_probabilities.empty() || here.mass > best.mass) best = std::move(here);
    said += place.token;
    if (!leads_to_option(said, opening)) break;
  }
  return best;
}

int option_said(const std::string& text, const std::vector<std::string>& options,
                const std::string& opening) {
  std::string plain = without_markup(text);
  const std::string lead = trim(opening);
  if (const std::size_t at = lead.empty() ? plain.npos : lower_ascii(plain).rfind(lower_ascii(lead));
      at != plain.npos)
    plain = trim(plain.substr(at + lead.size()));
  for (std::size_t i = 0; i < options.size(); ++i) {
    const std::string option = trim(options[i]);
    if (!plain.starts_with(option)) continue;
    const std::string rest = plain.substr(option.size());
    if (rest.empty() || std::string_view(".,:;!?\n\r").find(rest.front()) != std::string_view::npos)
      return static_cast<int>(i);
    if (rest.starts_with(" is ") || rest.starts_with(" because "))
      return static_cast<int>(i);  // not "A good answer would be B"
  }
  return -1;
}

namespace {

void read_detail(const Json& detail, Refusal& refusal) {
  for (const Json& one : detail) {
    const Json& words = member(one, "msg");
    std::string place;
    if (const Json& loc = member(one, "loc"); loc.is_array())
      for (const Json& part : loc) {
        if (part != "body")
          place += (place.empty() ? "" : ".") + (part.is_string() ? part.get<std::string>() : part.dump());
        if (part.is_string() && part != "body")
          refusal.fields.push_back(part.get<std::string>().substr(0, 100));
      }
    if (words.is_string())
      refusal.words += (refusal.words.empty() ? "" : "; ") + (place.empty() ? "" : place + ": ") +
                       words.get<std::string>();
    if (refusal.fields.size() > 20) break;
  }
}

}  // namespace

Refusal parse_refusal(std::string_view body) {
  Refusal refusal;
  try {
    const Json answer = parse_json(body, "answer");
    const Json& error = member(answer, "error");
    const Json& inner = error.is_object() ? error : answer;
    if (error.is_string())
      refusal.words = error.get<std::string>();
    else if (member(inner, "message").is_string())
      refusal.words = inner["message"].get<std::string>();
    if (member(inner, "param").is_string())
      refusal.fields.push_back(inner["param"].get<std::string>().substr(0, 100));
    std::vector<const Json*> places{&answer};
    if (&inner != &answer) places.push_back(&inner);
    places.push_back(&member(inner, "message"));
    for (const Json* at : places) {
      const Json& detail = member(*at, "detail");
      if (detail.is_string() && refusal.words.empty())
        refusal.words = detail.get<std::string>();
      else if (detail.is_array())
        read_detail(detail, refusal);
    }
  } catch (const Error&) {
  }
  return refusal;
}

std::string cut_utf8(std::string text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xc0) == 0x80)
    --bytes;
  text.resize(bytes);
  return text;
}

double retry_after_seconds(const std::string& header, double most) {
  if (header.empty()) return 0;
  if (header.find_first_not_of("0123456789.") == header.npos && header.size() < 12)
    return std::min(std::atof(header.c_str()), most);
  const std::time_t date = curl_getdate(header.c_str(), nullptr);
  return date < 0 ? 0 : std::clamp(std::difftime(date, std::time(nullptr)), 0.0, most);
}

Json to_json(const ChatAnswer& a) {
  Json record = {
      {"text", a.text}, {"finish", a.finish}, {"prompt_tokens", a.prompt_tokens}, {"tokens", a.tokens}};
  if (!a.reasoning.empty()) record["reasoning"] = a.reasoning;
  if (a.is_thinking) record["is_thinking"] = true;
  for (const AnswerToken& place : a.tokens_shown) {
    Json top = Json::array();
    for (const auto& [token, log_probability] : place.top)
      top.push_back({{"token", token}, {"log_probability", log_probability}});
    record["tokens_shown"].push_back({{"token", place.token}, {"top", std::move(top)}});
  }
  return record;
}

ChatAnswer chat_answer_of(const Json& record) {
  const auto read_top = [](const Json& list) {
    TopTokens top;
    for (const Json& t : list)
      top.emplace_back(t.at("token").get<std::string>(), t.at("log_probability").get<double>());
    return top;
  };
  try {
    ChatAnswer a;
    a.text = record.at("text").get<std::string>();
    a.finish = record.at("finish").get<std::string>();
    a.prompt_tokens = record.at("prompt_tokens").get<std::int64_t>();
    a.tokens = record.at("tokens").get<std::int64_t>();
    if (record.contains("reasoning")) a.reasoning = record["reasoning"].get<std::string>();
    if (record.contains("is_thinking")) a.is_thinking = record["is_thinking"].get<bool>();
    if (record.contains("top"))
      a.tokens_shown.push_back({"", read_top(record["top"])});  // as version 0.1 wrote them
    if (record.contains("tokens_shown"))
      for (const Json& place : record["tokens_shown"])
        a.tokens_shown.push_back({place.at("token").get<std::string>(), read_top(place.at("top"))});
    return a;
  } catch (const Json::exception&) {
    throw InputError(
        "not an answer; expected text, finish, prompt_tokens, tokens, tokens_shown [{token, top}]");
  }
}

}  // namespace cai
