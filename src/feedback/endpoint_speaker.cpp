// An endpoint as a speaker: how text and choices are asked for, and how the answers are read.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/feedback/endpoint_client.hpp"
#include "cai/feedback/speaker.hpp"

namespace cai {
namespace {

constexpr std::size_t kBytesPerToken = 32;  // of the longest text that so many tokens can be
constexpr double kOffFormat = 0.5;          // options with less probability than this were not answered with

std::string last_line(const std::string& text) {
  return text.substr(text.rfind('\n') + 1);
}

Question question_of(const Choice& choice) {
  return {.messages = &choice.messages, .opening = choice.opening, .options = choice.options};
}

// Words of a reply, with the opening that was put in its mouth.
std::string with_opening(const std::string& opening, std::string text) {
  if (opening.empty() || text.starts_with(opening)) return text;
  // A server that goes on from the opening sends the rest only; the space between words is often lost on the
  // way.
  const bool is_glued = !text.empty() && std::isalnum(static_cast<unsigned char>(text.front())) &&
                        opening.back() != ' ' && opening.back() != '\n';
  return opening + (is_glued ? " " : "") + text;
}

Reply reply_of(const Ask& ask, const ChatAnswer& answer) {
  Reply reply;
  reply.finish = answer.problem.empty() ? answer.finish : "error: " + answer.problem;
  reply.prompt_tokens = static_cast<int>(std::max<std::int64_t>(answer.prompt_tokens, 0));
  reply.tokens = static_cast<int>(std::max<std::int64_t>(answer.tokens, 0));
  if (!answer.problem.empty()) return reply;
  if (answer.is_thinking) {
    reply.finish = "error: the model was still thinking when the answer ended";
    return reply;
  }
  // Longer than so many tokens can be: the server went on where it was to stop.
  const std::size_t longest =
      ask.opening.size() + kBytesPerToken * static_cast<std::size_t>(std::max(1, ask.max_new_tokens));
  const std::string text = cut_utf8(answer.text, longest);
  if (text.size() < answer.text.size()) reply.finish = "length";
  reply.text = trim(with_opening(ask.opening, text));
  return reply;
}

// Counts of the options among sampled replies, as log-probabilities: half a reply is added to each
// (Krichevsky and Trofimov 1981).
Chosen decision_of(const std::vector<long>& counts, long replies) {
  Chosen decision{.samples = replies};
  double named = 0;
  for (const long n : counts)
    named += static_cast<double>(n);
  for (const long n : counts)
    decision.log_probabilities.push_back(
        std::log((static_cast<double>(n) + 0.5) / (named + 0.5 * static_cast<double>(counts.size()))));
  decision.mass = named / static_cast<double>(std::max(1L, replies));
  return decision;
}

class EndpointSpeaker : public Speaker {
 public:
  EndpointSpeaker(const EndpointConfig& endpoint, const std::filesystem::path& paid)
      : config_(endpoint), client_(endpoint, paid) {}

  void say(std::span<const Ask> asks, const std::function<void(std::size_t, Reply)>& done) override {
    std::vector<EndpointCall> calls;
    for (const Ask& ask : asks)
      calls.push_back({{.messages = &ask.messages,
                        .opening = ask.opening,
                        .max_tokens = ask.max_new_tokens,
                        .temperature = ask.temperature,
                        .top_p = ask.top_p,
                        .seed = Random(ask.random).next() & 0x7fffffff}});
    if (calls.empty()) return;
    if (ChatAnswer first = ask_one(calls.front()); thinks(first))
      ask_one({calls.front().question, -1, true});  // in another form
    client_.run(calls, [&](std::size_t i, const ChatAnswer& answer) { done(i, reply_of(asks[i], answer)); });
    client_.need_an_answer();
  }

  std::vector<std::vector<double>> choose(std::span<const Choice> choices) override {
    std::vector<std::vector<double>> results;
    for (Chosen& decision : decide(choices, {}))
      results.push_back(std::move(decision.log_probabilities));
    return results;
  }

  std::vector<Chosen> decide(std::span<const Choice> choices, const std::function<void()>& decided) override {
    settle(choices);
    return client_.form().samples() ? sampled(choices, decided) : read(choices, decided);
  }

  std::vector<LogProbability> score(std::span<const Scored>) override {
    throw UsageError(
        "an endpoint gives no log-probabilities of given answers; label.method contrast and eval need a "
        "local model");
  }

  Usage usage() const override { return client_.usage(); }
  bool keeps_answers() const override { return true; }

 private:
  ChatAnswer ask_one(const EndpointCall& call) {
    ChatAnswer result;
    client_.run(std::span(&call, 1), [&](std::size_t, const ChatAnswer& answer) { result = answer; });
    return result;
  }

  // Whether a model thinks before it answers although nothing was provided for that; then it is asked not to,
  // or given room.
  bool thinks(const ChatAnswer& answer) {
    const bool is_seen =
        answer.problem.empty() && (answer.is_thinking || (answer.text.empty() && !answer.reasoning.empty()));
    RequestForm& form = client_.form();
    if (!is_seen || form.has_room_to_think()) return false;
    if (form.may_hush()) {
      form.hush();
      log_info(
          "endpoint: the model thinks before it answers; it is asked not to (chat_template_kwargs: "
          "enable_thinking false; endpoint.thinking)");
      return true;
    }
    if (config_.thinking == "off") return false;
    form.give_room_to_think();
    form.set_prefills(false);
    form.set_samples();
    log_warning(
        "endpoint: the model thinks before it answers and cannot be kept from it; each answer has room for " +
        std::to_string(config_.thinking_tokens) +
        " tokens more (endpoint.thinking_tokens), and verdicts come from " + std::to_string(config_.samples) +
        " sampled replies (endpoint.samples)");
    return true;
  }

  // Finds out by the first question that is answered in which form the server gives verdicts.
  void settle(std::span<const Choice> choices) {
    RequestForm& form = client_.form();
    for (std::size_t i = 0; i < choices.size() && !form.is_settled(); ++i) {
      const Question q = question_of(choices[i]);
      ChatAnswer answer = ask_one({q});
      while (thinks(answer))
        answer = ask_one({q, -1, true});
      if (!answer.problem.empty()) continue;
      if (!form.samples() && answer.tokens_shown.empty()) {
        form.set_samples();
        log_warning("endpoint: the server gives no log-probabilities; each verdict comes from " +
                    std::to_string(config_.samples) + " sampled replies (endpoint.samples)");
      } else if (!form.samples()) {
        settle_prefill(choices[i],
                       read_options(answer, choices[i].options, last_line(choices[i].opening)).mass);
      }
      form.settle();
    }
    client_.need_an_answer();
  }

  // A server that ignores the fields for an unfinished answer begins its answer anew: then the question asks
  // for the letter alone.
  void settle_prefill(const Choice& choice, double mass) {
    RequestForm& form = client_.form();
    if (config_.prefill != "auto" || !form.prefills() || choice.opening.empty() || mass >= kOffFormat) return;
    form.set_prefills(false);
    const ChatAnswer answer = ask_one({question_of(choice), -1, true});
    const double now = read_options(answer, choice.options, last_line(choice.opening)).mass;
    if (answer.problem.empty() && now > mass) {
      log_warning(
          "endpoint: the server does not go on from the first words of an answer; they are asked for in the "
          "question (endpoint.prefill: no)");
      return;
    }
    form.set_prefills(true);
    ask_one({question_of(choice), -1, true});  // the answer that counts is the one in the form that stands
  }

  static void note_problem(Chosen& decision, const ChatAnswer& answer) {
    decision.problem =
        answer.problem.empty() ? "" : (answer.is_refused ? "refused: " : "no answer: ") + answer.problem;
    if (answer.is_thinking)
      decision.problem =
          "still thinking: the answer ended before it was given; raise endpoint.thinking_tokens";
  }

  std::vector<Chosen> read(std::span<const Choice> choices, const std::function<void()>& decided) {
    std::vector<EndpointCall> calls;
    for (const Choice& choice : choices)
      calls.push_back({question_of(choice)});
    std::vector<Chosen> decisions(choices.size());
    client_.run(calls, [&](std::size_t i, const ChatAnswer& answer) {
      const std::string opening = last_line(choices[i].opening);
      OptionReading reading = read_options(answer, choices[i].options, opening);
      if (answer.problem.empty() && answer.tokens_shown.empty()) {  // this once
        std::vector<long> counts(choices[i].options.size());
        if (const int said = option_said(answer.text, choices[i].options, opening); said >= 0)
          ++counts[static_cast<std::size_t>(said)];
        decisions[i] = decision_of(counts, 1);
      } else {
        decisions[i] = {.log_probabilities = std::move(reading.log_probabilities), .mass = reading.mass};
      }
      note_problem(decisions[i], answer);
      if (decided) decided();
    });
    return decisions;
  }

  std::vector<Chosen> sampled(std::span<const Choice> choices, const std::function<void()>& decided) {
    std::vector<EndpointCall> calls;
    const std::size_t n = static_cast<std::size_t>(config_.samples);
    for (const Choice& choice : choices)
      for (std::size_t k = 0; k < n; ++k) {
        Question q = question_of(choice);
        q.seed = k + 1;
        calls.push_back({q, static_cast<long>(k)});
      }
    std::vector<std::vector<long>> counts(choices.size());
    std::vector<long> replies(choices.size()), landed(choices.size());
    std::vector<Chosen> problems(choices.size());
    for (std::size_t i = 0; i < choices.size(); ++i)
      counts[i].resize(choices[i].options.size());
    client_.run(calls, [&](std::size_t call, const ChatAnswer& answer) {
      const std::size_t i = call / n;
      const int said = option_said(answer.text, choices[i].options, last_line(choices[i].opening));
      if (said >= 0) ++counts[i][static_cast<std::size_t>(said)];
      replies[i] += answer.problem.empty();
      if (!answer.problem.empty() || answer.is_thinking) note_problem(problems[i], answer);
      if (static_cast<std::size_t>(++landed[i]) == n && decided) decided();
    });
    std::vector<Chosen> decisions;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      decisions.push_back(replies[i] > 0 ? decision_of(counts[i], replies[i]) : Chosen{});
      if (decisions[i].mass < kOffFormat) decisions[i].problem = problems[i].problem;
    }
    return decisions;
  }

  EndpointConfig config_;
  EndpointClient client_;
};

}  // namespace

std::unique_ptr<Speaker> endpoint_speaker(const EndpointConfig& endpoint, const std::filesystem::path& paid) {
  return std::make_unique<EndpointSpeaker>(endpoint, paid);
}

}  // namespace cai
