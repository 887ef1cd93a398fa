// How a question is put to a server: the body of a chat request, and what the server was found not to take of
// it.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/feedback/answer.hpp"
#include "cai/text/chat.hpp"

namespace cai {

/// One question, before it is known what the server takes.
struct Question {
  const std::vector<Message>* messages = nullptr;
  std::string opening;               // first words of the answer
  std::vector<std::string> options;  // of a choice; none: free text
  int max_tokens = 256;
  double temperature = 1, top_p = 1;
  std::uint64_t seed = 0;
};

class RequestForm {
 public:
  explicit RequestForm(const EndpointConfig& endpoint);

  /// The body of a chat request (https://platform.openai.com/docs/api-reference/chat/create).
  Json body(const Question& question) const;

  /// Changes the form by what a server says when it refuses `sent` (HTTP 400, 422). Returns what is done from
  /// now on, in words; "" when the refusal is about this request alone.
  std::string learn(const Refusal& refusal, const Json& sent);

  /// Whether the opening goes as an unfinished answer; else the last message asks for it in words.
  bool prefills() const { return prefills_; }
  void set_prefills(bool prefills) { prefills_ = prefills, ++version_; }

  /// Whether choices are read off the text of sampled replies, because there are no log-probabilities.
  bool samples() const { return top_ == 0; }
  void set_samples() { top_ = 0, ++version_; }

  /// Thinking models: whether they are asked not to (chat_template_kwargs), and whether replies have room for
  /// it.
  bool is_hushed() const { return is_hushed_ && !left_out_.contains("chat_template_kwargs"); }
  bool may_hush() const { return endpoint_.thinking == "auto" && !is_hushed_; }
  void hush() { is_hushed_ = true, ++version_; }
  bool has_room_to_think() const { return has_room_; }
  void give_room_to_think() { has_room_ = true, ++version_; }

  /// Whether it is known in which form the server gives verdicts.
  bool is_settled() const { return is_settled_; }
  void settle() { is_settled_ = true, ++version_; }

  /// What was learned, to be kept, and back; what was kept under other settings, or is damaged, is not taken.
  Json learned() const;
  void recall(const Json& learned);

  /// Grows with each change: a request that was refused under an older form is sent anew.
  int version() const { return version_; }

 private:
  void add_messages(Json& body, const Question& question) const;
  void add_limits(Json& body, const Question& question) const;
  std::string settings() const;
  std::string learn_logprobs(const Refusal& refusal, const Json& sent);
  std::string learn_prefill(const Refusal& refusal, const Json& sent);
  std::string learn_fields(const Refusal& refusal, const Json& sent);

  EndpointConfig endpoint_;
  Json extra_;
  std::set<std::string> left_out_;
  bool prefills_ = true, is_hushed_ = false, has_room_ = false, counts_completion_ = false,
       is_settled_ = false;
  long top_ = 20;  // the most that OpenAI and vLLM give
  int version_ = 0;
};

}  // namespace cai
