// What an OpenAI-compatible server sends back, read as hostile input. No network here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// One token of an answer and the likeliest tokens at its place, with natural log-probabilities (at most 0);
/// at most 100.
struct AnswerToken {
  std::string token;
  std::vector<std::pair<std::string, double>> top;
};

/// The first choice of an answer, reduced to what we use.
struct ChatAnswer {
  std::string problem;      // why the answer cannot be used, or ""
  bool is_refused = false;  // the server does not take this request: asking it again gives the same
  std::string text;         // UTF-8, without reasoning; control tokens that servers leave in it are taken out
  std::string reasoning;  // what a model thought before it answered: reasoning_content, or a <think> block of
                          // the text
  bool is_thinking = false;  // it was still thinking when the answer ended
  std::string finish =
      "stop";  // "stop", "length" or "error: content filter"; whatever else a server says is "stop"
  std::vector<AnswerToken> tokens_shown;  // the first ones, at most 16; none: no log-probabilities were given
  std::int64_t prompt_tokens = -1, tokens = -1;  // -1: not told; each at most a billion
};

/// Never throws on what a server can send: it says what is wrong in `problem`.
ChatAnswer parse_chat_answer(std::string_view body);

/// What an answer says of options.
struct OptionReading {
  std::vector<double> log_probabilities;  // natural log, one an option, at most 0; empty: the server gave no
                                          // log-probabilities
  double mass = 0;                        // probability of all options together, as far as it is shown
};

/// Sums the top tokens that spell an option, with or without a space before it, at the first place of the
/// answer where the options have most of the probability: a server that does not go on from `opening` may
/// repeat it first. An option that is not shown is given the most that it can have: the least probability
/// shown, or what the shown ones leave.
OptionReading read_options(const ChatAnswer& answer, const std::vector<std::string>& options,
                           const std::string& opening);

/// The number of the option that a text names ("A", "(A)", "**A**.", "Better answer: A"), or -1.
int option_said(const std::string& text, const std::vector<std::string>& options, const std::string& opening);

/// What a server says about a request that it does not take.
struct Refusal {
  std::string words;  // "" when it says nothing that can be read. Not cut: hide secrets first, then cut
  std::vector<std::string> fields;  // names of request fields that it complains of, as far as it tells
};

/// Reads {"error": {"message", "param"}}, {"message"}, {"detail": "..."} and FastAPI's {"detail": [{"loc",
/// "msg"}]}.
Refusal parse_refusal(std::string_view body);

/// `text` cut to at most `bytes`, between two characters.
std::string cut_utf8(std::string text, std::size_t bytes);

/// Seconds that a Retry-After header asks for (a number or an HTTP date), at most `most`; 0 when it cannot be
/// read.
double retry_after_seconds(const std::string& header, double most);

/// An answer as a record and back. Throws InputError for a record of another form.
Json to_json(const ChatAnswer& answer);
ChatAnswer chat_answer_of(const Json& record);

}  // namespace cai
