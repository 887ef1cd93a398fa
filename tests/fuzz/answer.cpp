#include "cai/feedback/answer.hpp"

#include <cmath>

#include "fuzz.hpp"

FUZZ_TARGET(answer) {
  using namespace cai;
  const ChatAnswer answer = parse_chat_answer(data);
  fuzz::hold(is_utf8(answer.text), "an answer is text");
  const OptionReading reading = read_options(answer, {" A", " B"}, "Better answer:");
  for (const double p : reading.log_probabilities)
    fuzz::hold(p <= 0 && !std::isnan(p), "a log-probability is at most 0");
  fuzz::hold(reading.mass >= 0 && reading.mass <= 1, "a mass is a probability");
  fuzz::hold(option_said(answer.text, {" A", " B"}, "Better answer:") < 2, "an option is one of the options");
  if (answer.problem.empty()) {
    const ChatAnswer again = chat_answer_of(parse_json(to_line(to_json(answer)), "answer"));
    fuzz::hold(again.text == answer.text && again.tokens_shown.size() == answer.tokens_shown.size() &&
                   again.reasoning == answer.reasoning && again.tokens == answer.tokens,
               "a kept answer reads back the same");
  }
  cut_utf8(parse_refusal(data).words, 200);
  const double wait = retry_after_seconds(std::string(data.substr(0, 60)), 60);
  fuzz::hold(wait >= 0 && wait <= 60, "a wait is bounded");
}
