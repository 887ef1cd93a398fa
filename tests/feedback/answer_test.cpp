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

std::string said(const std::string& text) {
  return to_line({{"choices", {{{"message", {{"content", text}}}}}}});
}

TEST(Answer, ControlTokensAreTakenOutWhateverTheyAreMadeOf) {
  EXPECT_EQ(parse_chat_answer(said("a<|im_end|>b<s></s>c")).text, "abc");
  EXPECT_EQ(parse_chat_answer(said("<|im_<s>end|>x")).text, "x");  // taking one out puts no other together
  std::string many;
  for (int i = 0; i < 1'000'000; ++i)
    many += "<s>";
  EXPECT_EQ(parse_chat_answer(said(many)).text, "");  // in one pass
}

TEST(Answer, WhatIsMissingOrOfAnotherTypeIsAProblemOrNothing) {
  for (const char* body :
       {"", "x", "[]", "{}", R"({"choices": []})", R"({"choices": [3]})", R"({"choices": [{"message": 3}]})",
        R"({"choices": {"message": {}}})", "{\"choices\": [{\"message\": {\"content\": \"\xff\"}}]}"})
    EXPECT_FALSE(parse_chat_answer(body).problem.empty()) << body;
  const ChatAnswer odd = parse_chat_answer(
      R"({"choices": [{"message": {"content": [1]}, "finish_reason": {"x": 1}, "logprobs": [3]}], "usage": {"prompt_tokens": "x", "completion_tokens": 1e300}})");
  EXPECT_EQ(odd.problem + odd.text, "");
  EXPECT_EQ(odd.finish, "stop");
  EXPECT_TRUE(odd.tokens_shown.empty());
  EXPECT_EQ(odd.prompt_tokens, -1);
  EXPECT_EQ(odd.tokens, 1'000'000'000);
  EXPECT_TRUE(read_options(odd, {" A", " B"}, "").log_probabilities.empty());
}

TEST(Answer, SumsTheTokensThatSpellAnOption) {
  const std::string top =
      R"([{"token": " A", "logprob": -1}, {"token": "A", "logprob": -1}, {"token": "C", "logprob": 5}, {"token": 3, "logprob": -1}])";
  const ChatAnswer answer = parse_chat_answer(
      R"({"choices": [{"message": {"content": " A"}, "finish_reason": "length", "logprobs": {"content": [{"top_logprobs": )" +
      top + "}]}}]}");
  EXPECT_EQ(answer.finish, "length");
  const std::vector<double> logs = read_options(answer, {" A", " B", "C"}, "").log_probabilities;
  EXPECT_NEAR(logs[0], std::log(2 * std::exp(-1.0)), 1e-12);
  EXPECT_EQ(logs[2], 0);
}

// An answer whose tokens have these likeliest tokens with their probabilities.
ChatAnswer shown(
    const std::vector<std::pair<std::string, std::vector<std::pair<std::string, double>>>>& places) {
  Json content = Json::array();
  for (const auto& [token, top] : places) {
    Json list = Json::array();
    for (const auto& [one, p] : top)
      list.push_back({{"token", one}, {"logprob", std::log(p)}});
    content.push_back({{"token", token}, {"top_logprobs", list}});
  }
  return parse_chat_answer(
      to_line({{"choices", {{{"message", {{"content", "x"}}}, {"logprobs", {{"content", content}}}}}}}));
}

TEST(Answer, AnOptionThatIsNotShownHasAtMostWhatTheShownOnesLeave) {
  const OptionReading least = read_options(shown({{"A", {{"A", 0.6}, {"The", 0.01}}}}), {" A", " B"}, "");
  EXPECT_NEAR(least.log_probabilities[1], std::log(0.01), 1e-12);  // the least shown
  EXPECT_NEAR(least.mass, 0.6, 1e-12);
  const OptionReading rest = read_options(shown({{"A", {{"A", 0.9}}}}), {" A", " B"}, "");
  EXPECT_NEAR(rest.log_probabilities[1], std::log(0.1), 1e-9);  // what is left
  const OptionReading neither =
      read_options(shown({{"Let", {{"Let", 0.99}, {"A", 1e-4}}}}), {" A", " B"}, "");
  EXPECT_LT(neither.mass, 0.5);
}

TEST(Answer, AnOptionIsFoundBehindMarkupAndTheOpening) {
  const std::vector<std::string> options{" A", " B"};
  const auto p = [&](const ChatAnswer& answer) {
    return std::exp(read_options(answer, options, "Better answer:").log_probabilities[0]);
  };
  EXPECT_NEAR(p(shown({{"(", {{"(", 0.99}, {"A", 0.005}}}, {"A", {{"A", 0.8}, {"B", 0.2}}}})), 0.8, 1e-9);
  EXPECT_NEAR(p(shown({{"**", {{"**", 1}}}, {"B", {{"A", 0.3}, {"B", 0.7}}}})), 0.3, 1e-9);
  EXPECT_NEAR(p(shown({{"Better", {{"Better", 1}}},
                       {" answer", {{" answer", 1}}},
                       {":", {{":", 1}}},
                       {" A", {{" A", 0.7}, {" B", 0.3}}}})),
              0.7, 1e-9);
  EXPECT_NEAR(p(shown({{"\xc4\xa0"
                        "A",
                        {{"\xc4\xa0"
                          "A",
                          0.6},
                         {"\xe2\x96\x81"
                          "B",
                          0.4}}}})),
              0.6, 1e-9);  // as tokenizers write a space
  EXPECT_LT(read_options(shown({{"I", {{"I", 1}}}, {" A", {{" A", 1}}}}), options, "Better answer:").mass,
            0.5);  // in the middle of a sentence
}

TEST(Answer, TheTextNamesAnOptionOrNot) {
  const std::vector<std::string> options{" A", " B"};
  for (const char* a : {"A", " A", "(A)", "**A**.", "A.", "A\nBecause it is kind.", "Better answer: A",
                        "I like it.\nBetter answer: **A**", "A is better.", "\"A\""})
    EXPECT_EQ(option_said(a, options, "Better answer:"), 0) << a;
  for (const char* b : {"B", "better answer: B"})
    EXPECT_EQ(option_said(b, options, "Better answer:"), 1) << b;
  for (const char* none : {"", "A good answer would be B", "Apples", "C", "Neither", "a"})
    EXPECT_EQ(option_said(none, options, "Better answer:"), -1) << none;
}

TEST(Answer, ThoughtsAreNoPartOfTheText) {
  const auto read = [](const std::string& message, const std::string& finish = "stop") {
    return parse_chat_answer("{\"choices\": [{\"message\": " + message + ", \"finish_reason\": \"" + finish +
                             "\"}]}");
  };
  const ChatAnswer whole = read(R"({"content": "<think>\nIs A kind? Yes.\n</think>\n\nA"})");
  EXPECT_EQ(trim(whole.text) + "|" + whole.reasoning, "A|Is A kind? Yes.");
  EXPECT_EQ(trim(read(R"({"content": "Is A kind?</think>A"})").text),
            "A");  // the block was opened in the prompt
  EXPECT_TRUE(read(R"({"content": "<think>Is A"})", "length").is_thinking);
  for (const char* apart :
       {R"({"content": null, "reasoning_content": "Is A"})", R"({"content": "", "reasoning": "Is A"})"}) {
    EXPECT_EQ(read(apart, "length").reasoning, "Is A");
    EXPECT_TRUE(read(apart, "length").is_thinking);
  }
  EXPECT_FALSE(read(R"({"content": "", "reasoning": ""})", "length").is_thinking);
  EXPECT_EQ(read(R"({"content": [{"type": "text", "text": "A"}, {"type": "image"}]})").text, "A");
  EXPECT_EQ(read(R"({"content": null, "refusal": "I cannot judge this."})").text, "I cannot judge this.");
}

TEST(Answer, RefusalsAreReadInTheServersOwnWords) {
  EXPECT_EQ(parse_refusal(R"({"error": {"message": "no", "param": "seed"}})").words, "no");
  EXPECT_EQ(parse_refusal(R"({"error": {"message": "no", "param": "seed"}})").fields,
            std::vector<std::string>{"seed"});
  EXPECT_EQ(parse_refusal(R"({"object": "error", "message": "no", "param": null})").words, "no");
  EXPECT_EQ(parse_refusal(R"({"error": "no"})").words, "no");
  EXPECT_EQ(parse_refusal(R"({"detail": "Not Found"})").words, "Not Found");
  const Refusal list = parse_refusal(
      R"({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}, {"loc": ["body", "messages", 0], "msg": "odd"}]})");
  EXPECT_EQ(list.words, "seed: Extra inputs are not permitted; messages.0: odd");
  EXPECT_EQ(list.fields, (std::vector<std::string>{"seed", "messages"}));
  for (const char* nothing : {"", "<html>", "[]", "3", R"({"detail": [3]})", R"({"error": {"message": 3}})"})
    EXPECT_EQ(parse_refusal(nothing).words, "") << nothing;
}

TEST(Answer, RetryAfterIsANumberOrADateAndBounded) {
  EXPECT_EQ(retry_after_seconds("3", 60), 3);
  EXPECT_EQ(retry_after_seconds("0.25", 60), 0.25);
  EXPECT_EQ(retry_after_seconds("99999", 60), 60);
  EXPECT_EQ(retry_after_seconds("Wed, 21 Oct 2099 07:28:00 GMT", 60), 60);
  for (const char* nothing : {"", "-5", "soon", "Wed, 21 Oct 1999 07:28:00 GMT", "1e9"})
    EXPECT_EQ(retry_after_seconds(nothing, 60), 0) << nothing;
}

TEST(Answer, IsCutBetweenCharacters) {
  EXPECT_EQ(cut_utf8("caf\xc3\xa9", 4), "caf");
  EXPECT_EQ(cut_utf8("caf\xc3\xa9", 5), "caf\xc3\xa9");
}

TEST(PaidAnswers, AreFoundAgainAndATornLineIsCut) {
  const fs::path file = fs::temp_directory_path() / ("cai-paid-" + std::to_string(getpid()));
  const ChatAnswer answer = parse_chat_answer(
      R"({"choices": [{"message": {"content": "x\u001b"}, "logprobs": {"content": [{"top_logprobs": [{"token": " A", "logprob": -0.5}]}]}}], "usage": {"prompt_tokens": 7}})");
  {
    PaidAnswers paid(file);
    paid.add("one", answer), paid.add("two", answer);
  }
  const auto size = fs::file_size(file);
  {
    AppendFile torn(file, size);
    torn.append("{\"request\": \"thr");
  }
  {
    PaidAnswers paid(file);
    EXPECT_FALSE(paid.find("three"));
    const std::optional<ChatAnswer> again = paid.find("two");
    ASSERT_TRUE(again);
    EXPECT_EQ(again->text, "x\x1b");
    EXPECT_EQ(again->prompt_tokens, 7);
    EXPECT_EQ(again->tokens, -1);
    ASSERT_EQ(again->tokens_shown.size(), 1u);
    EXPECT_EQ(again->tokens_shown[0].top, answer.tokens_shown[0].top);
    EXPECT_EQ(paid.noted(), Json::object());
    paid.note({{"top", 5}});
    paid.add("two", parse_chat_answer(said("anew")));
    paid.add("three", answer);
  }
  PaidAnswers paid(file);
  EXPECT_TRUE(paid.find("one") && paid.find("two") && paid.find("three"));
  EXPECT_EQ(paid.find("two")->text, "anew");  // the last one stands
  EXPECT_EQ(paid.noted(), (Json{{"top", 5}}));
  fs::remove(file);
  PaidAnswers nothing("");
  nothing.add("one", answer);
  EXPECT_FALSE(nothing.find("one"));
}

}  // namespace
}  // namespace cai
