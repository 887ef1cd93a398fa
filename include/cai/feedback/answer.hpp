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

/// The first choice of an answer, reduced to what we use.
struct ChatAnswer {
  std::string problem;                             // why the answer cannot be used, or ""
  std::string text;                                // UTF-8; control tokens that servers leave in it are taken out
  std::string finish = "stop";                     // "stop", "length" or "error: content filter"; whatever else a server says is "stop"
  bool has_top = false;                            // log-probabilities of the first token were given
  std::vector<std::pair<std::string, double>> top; // token and natural log-probability (at most 0), at most 100
  std::int64_t prompt_tokens = -1, tokens = -1;    // -1: not told; each at most a billion
};

/// Never throws on what a server can send: it says what is wrong in `problem`.
ChatAnswer parse_chat_answer(std::string_view body);

/// Log of the summed probabilities of those top tokens that spell an option, with or without a space before it; -infinity for an
/// option that is not among them. Empty when the server gave no log-probabilities.
std::vector<double> option_log_probabilities(const ChatAnswer& answer, const std::vector<std::string>& options);

/// What a server says about an error, "" when it says nothing that can be read. Not cut: hide secrets first, then cut.
std::string error_words(std::string_view body);

/// `text` cut to at most `bytes`, between two characters.
std::string cut_utf8(std::string text, std::size_t bytes);

/// Seconds that a Retry-After header asks for (a number or an HTTP date), at most `most`; 0 when it cannot be read.
double retry_after_seconds(const std::string& header, double most);

/// An answer as a record and back. Throws InputError for a record of another form.
Json to_json(const ChatAnswer& answer);
ChatAnswer chat_answer_of(const Json& record);

}  // namespace cai
