#include "cai/feedback/answer.hpp"

#include <cmath>

#include "fuzz.hpp"

FUZZ_TARGET(answer) {
  using namespace cai;
  const ChatAnswer answer = parse_chat_answer(data);
  fuzz::hold(is_utf8(answer.text), "an answer is text");
  for (const double p : option_log_probabilities(answer, {" A", " B"})) fuzz::hold(p <= 0 && !std::isnan(p), "a log-probability is at most 0");
  if (answer.problem.empty()) {
    const ChatAnswer again = chat_answer_of(parse_json(to_line(to_json(answer)), "answer"));
    fuzz::hold(again.text == answer.text && again.top.size() == answer.top.size() && again.tokens == answer.tokens, "a kept answer reads back the same");
  }
  cut_utf8(error_words(data), 200);
  const double wait = retry_after_seconds(std::string(data.substr(0, 60)), 60);
  fuzz::hold(wait >= 0 && wait <= 60, "a wait is bounded");
}
