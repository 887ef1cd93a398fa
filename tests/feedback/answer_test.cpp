// What servers send back, and what is kept of it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "cai/base/text.hpp"
#include "cai/feedback/answer.hpp"
#include "cai/feedback/paid_answers.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

std::string said(const std::string& text) { return to_line({{"choices", {{{"message", {{"content", text}}}}}}}); }

TEST(Answer, ControlTokensAreTakenOutWhateverTheyAreMadeOf) {
  EXPECT_EQ(parse_chat_answer(said("a<|im_end|>b<s></s>c")).text, "abc");
  EXPECT_EQ(parse_chat_answer(said("<|im_<s>end|>x")).text, "x");  // taking one out puts no other together
  std::string many;
  for (int i = 0; i < 1'000'000; ++i) many += "<s>";
  EXPECT_EQ(parse_chat_answer(said(many)).text, "");  // in one pass
}

TEST(Answer, WhatIsMissingOrOfAnotherTypeIsAProblemOrNothing) {
  for (const char* body : {"", "x", "[]", "{}", R"({"choices": []})", R"({"choices": [3]})", R"({"choices": [{"message": 3}]})", R"({"choices": {"message": {}}})", "{\"choices\": [{\"message\": {\"content\": \"\xff\"}}]}"})
    EXPECT_FALSE(parse_chat_answer(body).problem.empty()) << body;
  const ChatAnswer odd = parse_chat_answer(R"({"choices": [{"message": {"content": [1]}, "finish_reason": {"x": 1}, "logprobs": [3]}], "usage": {"prompt_tokens": "x", "completion_tokens": 1e300}})");
  EXPECT_EQ(odd.problem + odd.text, "");
  EXPECT_EQ(odd.finish, "stop");
  EXPECT_FALSE(odd.has_top);
  EXPECT_EQ(odd.prompt_tokens, -1);
  EXPECT_EQ(odd.tokens, 1'000'000'000);
  EXPECT_TRUE(option_log_probabilities(odd, {" A", " B"}).empty());
}

TEST(Answer, SumsTheTokensThatSpellAnOption) {
  const std::string top = R"([{"token": " A", "logprob": -1}, {"token": "A", "logprob": -1}, {"token": "C", "logprob": 5}, {"token": 3, "logprob": -1}])";
  const ChatAnswer answer = parse_chat_answer(R"({"choices": [{"message": {"content": " A"}, "finish_reason": "length", "logprobs": {"content": [{"top_logprobs": )" + top + "}]}}]}");
  EXPECT_EQ(answer.finish, "length");
  const std::vector<double> logs = option_log_probabilities(answer, {" A", " B", "C"});
  EXPECT_NEAR(logs[0], std::log(2 * std::exp(-1.0)), 1e-12);
  EXPECT_EQ(logs[1], -INFINITY);
  EXPECT_EQ(logs[2], 0);
}

TEST(Answer, RetryAfterIsANumberOrADateAndBounded) {
  EXPECT_EQ(retry_after_seconds("3", 60), 3);
  EXPECT_EQ(retry_after_seconds("0.25", 60), 0.25);
  EXPECT_EQ(retry_after_seconds("99999", 60), 60);
  EXPECT_EQ(retry_after_seconds("Wed, 21 Oct 2099 07:28:00 GMT", 60), 60);
  for (const char* nothing : {"", "-5", "soon", "Wed, 21 Oct 1999 07:28:00 GMT", "1e9"}) EXPECT_EQ(retry_after_seconds(nothing, 60), 0) << nothing;
}

TEST(Answer, IsCutBetweenCharacters) {
  EXPECT_EQ(cut_utf8("caf\xc3\xa9", 4), "caf");
  EXPECT_EQ(cut_utf8("caf\xc3\xa9", 5), "caf\xc3\xa9");
}

TEST(PaidAnswers, AreFoundAgainAndATornLineIsCut) {
  const fs::path file = fs::temp_directory_path() / ("cai-paid-" + std::to_string(getpid()));
  const ChatAnswer answer = parse_chat_answer(R"({"choices": [{"message": {"content": "x\u001b"}, "logprobs": {"content": [{"top_logprobs": [{"token": " A", "logprob": -0.5}]}]}}], "usage": {"prompt_tokens": 7}})");
  { PaidAnswers paid(file); paid.add("one", answer), paid.add("two", answer); }
  const auto size = fs::file_size(file);
  { AppendFile torn(file, size); torn.append("{\"request\": \"thr"); }
  {
    PaidAnswers paid(file);
    EXPECT_FALSE(paid.find("three"));
    const std::optional<ChatAnswer> again = paid.find("two");
    ASSERT_TRUE(again);
    EXPECT_EQ(again->text, "x\x1b");
    EXPECT_EQ(again->prompt_tokens, 7);
    EXPECT_EQ(again->tokens, -1);
    EXPECT_EQ(again->top, answer.top);
    paid.add("three", answer);
  }
  PaidAnswers paid(file);
  EXPECT_TRUE(paid.find("one") && paid.find("two") && paid.find("three"));
  fs::remove(file);
  PaidAnswers nothing("");
  nothing.add("one", answer);
  EXPECT_FALSE(nothing.find("one"));
}

}  // namespace
}  // namespace cai
