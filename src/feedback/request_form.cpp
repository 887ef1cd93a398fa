#include "cai/feedback/request_form.hpp"

#include <algorithm>

#include "cai/base/text.hpp"

namespace cai {
namespace {

constexpr int kMostWords =
    8;  // tokens of an answer that names an option: markup, a repeated opening, the letter
constexpr int kSampledWords = 16;  // the least that some servers take

bool mentions(const std::string& words, std::initializer_list<const char*> some) {
  return std::any_of(some.begin(), some.end(),
                     [&](const char* one) { return words.find(one) != words.npos; });
}

// The largest whole number in a text that lies below `limit` and is no part of a name ("gpt-5"); 0 without
// one.
long largest_below(const std::string& text, long limit) {
  long largest = 0;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9')
      ++end;
    if (end == i) {
      ++i;
      continue;
    }
    const char before = i == 0 ? ' ' : text[i - 1];
    const bool is_in_name = std::isalpha(static_cast<unsigned char>(before)) ||
                            std::string_view("-_.").find(before) != std::string_view::npos;
    if (!is_in_name && end - i <= 3)
      if (const long n = std::stol(text.substr(i, end - i)); n < limit) largest = std::max(largest, n);
    i = end;
  }
  return largest;
}

std::string last_line(const std::string& text) {
  return text.substr(text.rfind('\n') + 1);
}

std::string choice_request(const std::vector<std::string>& options) {
  std::string list;
  for (const std::string& option : options)
    list += (list.empty() ? "" : " or ") + trim(option);
  return "Reply with " + list + " and nothing else.";
}

}  // namespace

RequestForm::RequestForm(const EndpointConfig& endpoint) : endpoint_(endpoint), extra_(Json::object()) {
  if (!endpoint.extra.empty()) extra_ = parse_json(endpoint.extra, "endpoint.extra");
  prefills_ = endpoint.prefill != "no";
  is_hushed_ = endpoint.thinking == "off";
  has_room_ = endpoint.thinking == "on";
  if (has_room_) top_ = 0, prefills_ = false;  // the answer comes after the thoughts
}

std::string RequestForm::settings() const {
  return endpoint_.prefill + " " + endpoint_.thinking + " " + endpoint_.model + " " + endpoint_.extra;
}

Json RequestForm::learned() const {
  return {{"settings", settings()},
          {"left_out", left_out_},
          {"prefills", prefills_},
          {"is_hushed", is_hushed_},
          {"has_room", has_room_},
          {"counts_completion", counts_completion_},
          {"top", top_},
          {"is_settled", is_settled_}};
}

void RequestForm::recall(const Json& learned) {
  try {
    if (!learned.contains("settings") || learned["settings"] != settings()) return;
    RequestForm form(endpoint_);
    form.left_out_ = learned.at("left_out").get<std::set<std::string>>();
    form.prefills_ = learned.at("prefills").get<bool>();
    form.is_hushed_ = learned.at("is_hushed").get<bool>();
    form.has_room_ = learned.at("has_room").get<bool>();
    form.counts_completion_ = learned.at("counts_completion").get<bool>();
    form.top_ = std::clamp(learned.at("top").get<long>(), 0L, 20L);
    form.is_settled_ = learned.at("is_settled").get<bool>();
    form.version_ = version_ + 1;
    *this = std::move(form);
  } catch (const Json::exception&) {
  }
}

void RequestForm::add_messages(Json& body, const Question& q) const {
  Json list = Json::array();
  const auto add = [&](const std::string& role, const std::string& text) {
    list.push_back({{"role", role}, {"content", to_utf8(text)}});
  };
  const std::string tail = last_line(q.opening);
  const bool is_in_words = !q.opening.empty() && !prefills_;
  for (const Message& m : *q.messages) {
    // Worked examples show the form that is asked for.
    const bool is_cut =
        is_in_words && !q.options.empty() && m.role == "assistant" && m.content.starts_with(tail);
    add(m.role, is_cut ? trim(m.content.substr(tail.size())) : m.content);
  }
  if (!q.opening.empty() && prefills_) {
    add("assistant", q.opening);
    body["add_generation_prompt"] = false;
    body["continue_final_message"] = true;
  } else if (is_in_words) {
    const std::string request =
        q.options.empty() ? "Begin your answer with these words: " + tail : choice_request(q.options);
    const std::string before = q.opening.substr(0, q.opening.size() - tail.size());
    if (!trim(before).empty())
      add("assistant", trim(before)), add("user", request);
    else if (!list.empty())
      list.back()["content"] = list.back()["content"].get<std::string>() + "\n\n" + request;
  }
  body["messages"] = std::move(list);
}

void RequestForm::add_limits(Json& body, const Question& q) const {
  const bool is_read = !q.options.empty() && !samples();
  int tokens = q.options.empty()      ? q.max_tokens
               : is_read && prefills_ ? 1
               : is_read              ? kMostWords
                                      : kSampledWords;
  if (has_room_) tokens += static_cast<int>(endpoint_.thinking_tokens);
  body[counts_completion_ ? "max_completion_tokens" : "max_tokens"] = tokens;
  if (is_read) {
    body["temperature"] = 0;
    body["logprobs"] = true;
    body["top_logprobs"] = top_;
    return;
  }
  body["temperature"] = q.temperature;
  body["top_p"] = q.top_p;
  body["seed"] = q.seed;
}

Json RequestForm::body(const Question& q) const {
  Json body = {{"model", endpoint_.model}, {"stream", false}, {"n", 1}};
  add_messages(body, q);
  add_limits(body, q);
  if (is_hushed_) body["chat_template_kwargs"]["enable_thinking"] = false;
  for (const std::string& field : left_out_)
    body.erase(field);
  for (const auto& [field, value] : extra_.items()) {
    if (value.is_null())
      body.erase(field);
    else if (value.is_object() && body.contains(field) && body[field].is_object())
      body[field].update(value);
    else
      body[field] = value;
  }
  return body;
}

std::string RequestForm::learn_logprobs(const Refusal& refusal, const Json& sent) {
  if (!sent.contains("logprobs") || !mentions(refusal.words, {"logprobs", "log prob", "log-prob"})) return "";
  const long most = largest_below(refusal.words, sent.value("top_logprobs", 0L));
  if (most > 0) {
    top_ = most;
    return "top_logprobs is " + std::to_string(most);
  }
  top_ = 0;
  return "log-probabilities are not asked for; each verdict comes from " + std::to_string(endpoint_.samples) +
         " sampled replies (endpoint.samples)";
}

std::string RequestForm::learn_prefill(const Refusal& refusal, const Json& sent) {
  if (!prefills_ || !sent.contains("continue_final_message")) {
    if (!prefills_ || sent["messages"].empty() || sent["messages"].back()["role"] != "assistant") return "";
  }
  const std::string words = lower_ascii(refusal.words);
  const auto names = [&](const char* field) {
    return std::find(refusal.fields.begin(), refusal.fields.end(), field) != refusal.fields.end() ||
           words.find(field) != words.npos;
  };
  const bool is_field = names("add_generation_prompt") || names("continue_final_message");
  const bool is_message =
      mentions(words, {"prefill", "prefix"}) ||
      (mentions(words, {"last ", "final "}) && mentions(words, {"role", "assistant", "user"}));
  if (!is_field && !is_message) return "";
  if (endpoint_.prefill == "yes") {
    if (!is_field) return "";
    left_out_.insert({"add_generation_prompt", "continue_final_message"});
    return "the first words of an answer go without add_generation_prompt and continue_final_message";
  }
  prefills_ = false;
  return "the first words of an answer are asked for in the question (endpoint.prefill: no)";
}

std::string RequestForm::learn_fields(const Refusal& refusal, const Json& sent) {
  for (const char* field : {"seed", "top_p", "temperature", "n", "stream", "chat_template_kwargs"}) {
    if (!sent.contains(field) || left_out_.contains(field)) continue;
    const std::string quoted = std::string("'") + field + "'", named = std::string(": ") + field;
    const bool is_named =
        std::find(refusal.fields.begin(), refusal.fields.end(), field) != refusal.fields.end() ||
        refusal.words.find(quoted) != std::string::npos || refusal.words.ends_with(named) ||
        (std::string_view(field).size() > 4 && refusal.words.find(field) != std::string::npos);
    if (!is_named) continue;
    left_out_.insert(field);
    return std::string(field) + " is left out";
  }
  return "";
}

std::string RequestForm::learn(const Refusal& refusal, const Json& sent) {
  std::string done;
  if (sent.contains("max_tokens") && mentions(refusal.words, {"max_completion_tokens"})) {
    counts_completion_ = true;
    done = "max_completion_tokens is sent instead of max_tokens";
  }
  if (done.empty()) done = learn_logprobs(refusal, sent);
  if (done.empty()) done = learn_prefill(refusal, sent);
  if (done.empty()) done = learn_fields(refusal, sent);
  if (!done.empty()) ++version_;
  return done;
}

}  // namespace cai
