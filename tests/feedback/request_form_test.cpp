// What is sent to a server, and what is learned from its refusals.
#include "cai/feedback/request_form.hpp"

#include <gtest/gtest.h>

#include "cai/base/error.hpp"
#include "cai/feedback/endpoint_address.hpp"
#include "cai/feedback/speaker.hpp"

namespace cai {
namespace {

const std::vector<Message> kExample{
    {"user", "Which?"}, {"assistant", "Better answer: B"}, {"user", "Which one?"}};

Question choice() {
  return {.messages = &kExample, .opening = "Better answer:", .options = {" A", " B"}};
}

std::string learn(RequestForm& form, const std::string& words, std::vector<std::string> fields = {}) {
  return form.learn({words, std::move(fields)}, form.body(choice()));
}

TEST(RequestForm, AChoiceIsOneTokenBehindItsOpening) {
  const Json body = RequestForm({.model = "judge"}).body(choice());
  EXPECT_EQ(body["max_tokens"], 1);
  EXPECT_EQ(body["top_logprobs"], 20);
  EXPECT_EQ(body["messages"].back(), (Json{{"role", "assistant"}, {"content", "Better answer:"}}));
  EXPECT_EQ(body["continue_final_message"], true);
}

TEST(RequestForm, WithoutPrefillTheQuestionAsksForTheLetterAndExamplesShowIt) {
  const Json body = RequestForm({.prefill = "no"}).body(choice());
  EXPECT_FALSE(body.contains("continue_final_message"));
  EXPECT_EQ(body["messages"][1]["content"], "B");
  EXPECT_EQ(body["messages"].back()["content"], "Which one?\n\nReply with A or B and nothing else.");
  Question reasoned = choice();
  reasoned.opening = "A is kind.\nBetter answer:";
  const Json after = RequestForm({.prefill = "no"}).body(reasoned);
  EXPECT_EQ(after["messages"][3], (Json{{"role", "assistant"}, {"content", "A is kind."}}));
  EXPECT_EQ(after["messages"][4]["content"], "Reply with A or B and nothing else.");
}

TEST(RequestForm, LearnsTheMostLogProbabilitiesThatAServerGives) {
  for (const char* words : {"Requested sample logprobs of 20, which is greater than max allowed: 5",
                            "Cannot request more than 5 logprobs.", "top_logprobs must be between 0 and 5",
                            "body.top_logprobs: Input should be less than or equal to 5"}) {
    RequestForm form({});
    EXPECT_EQ(learn(form, words), "top_logprobs is 5") << words;
    EXPECT_EQ(form.body(choice())["top_logprobs"], 5);
  }
  for (const char* words :
       {"logprobs: Extra inputs are not permitted", "This model (gpt-5) does not support logprobs",
        "'logprobs' is not supported with this model."}) {
    RequestForm form({});
    EXPECT_NE(learn(form, words), "") << words;
    EXPECT_TRUE(form.samples()) << words;
    EXPECT_FALSE(form.body(choice()).contains("logprobs"));
  }
}

TEST(RequestForm, LearnsWhichFieldsAreRefused) {
  RequestForm form({});
  EXPECT_NE(learn(form,
                  "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                  "'max_completion_tokens' instead.",
                  {"max_tokens"}),
            "");
  EXPECT_EQ(form.body(choice())["max_completion_tokens"], 1);
  EXPECT_NE(learn(form, "Unrecognized request argument supplied: add_generation_prompt"), "");
  EXPECT_FALSE(form.prefills());
  EXPECT_NE(
      learn(form, "Unsupported value: 'temperature' does not support 0 with this model.", {"temperature"}),
      "");
  EXPECT_FALSE(form.body(choice()).contains("temperature"));
  const int version = form.version();
  EXPECT_EQ(learn(form, "This model's maximum context length is 2048 tokens."),
            "");  // about this request alone
  EXPECT_EQ(form.version(), version);
  RequestForm last({});
  EXPECT_NE(
      learn(last,
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"),
      "");
  EXPECT_FALSE(last.prefills());
  RequestForm always({.prefill = "yes"});
  EXPECT_NE(learn(always, "", {"continue_final_message"}), "");
  EXPECT_TRUE(always.prefills());
  EXPECT_FALSE(always.body(choice()).contains("continue_final_message"));
}

TEST(RequestForm, WhatWasLearnedIsKeptUnderTheSameSettings) {
  RequestForm form({});
  learn(form, "Cannot request more than 5 logprobs.");
  RequestForm again({}), other({.prefill = "no"}), damaged({});
  again.recall(form.learned()), other.recall(form.learned()),
      damaged.recall({{"settings", form.learned()["settings"]}, {"top", "x"}});
  EXPECT_EQ(again.body(choice())["top_logprobs"], 5);
  EXPECT_EQ(other.body(choice())["top_logprobs"], 20);
  EXPECT_EQ(damaged.body(choice())["top_logprobs"], 20);
}

TEST(RequestForm, ExtraFieldsAreAddedReplacedAndLeftOut) {
  const Json body =
      RequestForm({.extra = R"({"top_k": 3, "n": null, "temperature": 1, "chat_template_kwargs": {"x": 1}})",
                   .thinking = "off"})
          .body(choice());
  EXPECT_EQ(body["top_k"], 3);
  EXPECT_FALSE(body.contains("n"));
  EXPECT_EQ(body["temperature"], 1);
  EXPECT_EQ(body["chat_template_kwargs"], (Json{{"enable_thinking", false}, {"x", 1}}));
}

TEST(EndpointAddress, IsReadAsCurlReadsIt) {
  EXPECT_EQ(endpoint_address("http://host:1/v1/").chat, "http://host:1/v1/chat/completions");
  EXPECT_EQ(endpoint_address("https://host/v1/chat/completions").models, "https://host/v1/models");
  EXPECT_TRUE(endpoint_address("https://host/v1").has_version &&
              endpoint_address("https://host/x/v1beta/").has_version);
  EXPECT_FALSE(endpoint_address("https://host").has_version ||
               endpoint_address("https://host/openai").has_version);
  for (const char* here : {"http://localhost:1/v1", "http://LOCALHOST/v1", "http://127.0.0.1/v1",
                           "http://127.1.2.3:4", "http://[::1]:80/v1"})
    EXPECT_TRUE(endpoint_address(here).is_this_machine) << here;
  for (const char* there : {"http://localhost.evil.com/v1", "http://127.evil/v1", "http://127.0.0.1.evil.com",
                            "http://128.0.0.1", "http://10.0.0.1"})
    EXPECT_FALSE(endpoint_address(there).is_this_machine) << there;
  for (const char* bad : {"", "http://", "ftp://host", "http-judge/", "httpx://host", "http://a@b/v1",
                          "http://host/?x", "http://host#x", "http://h ost"})
    EXPECT_THROW(endpoint_address(bad), UsageError) << bad;
  EXPECT_TRUE(is_endpoint("http://x") && is_endpoint("HTTPS://x"));
  EXPECT_FALSE(is_endpoint("http-judge") || is_endpoint("self") || is_endpoint("httpx://x"));
  EXPECT_EQ(endpoint_addresses({.url = "http://a/v1", .urls = {"http://a/v1/", "http://b/v1"}}).size(), 2u);
}

}  // namespace
}  // namespace cai
