// Exchanges out of logs: every form gives the same exchange, and a record that cannot be read costs itself.
#include <gtest/gtest.h>

#include "cai/base/error.hpp"
#include "cai/data/exchange.hpp"

namespace cai {
namespace {

constexpr const char* kAsked = "When are you open?";
constexpr const char* kAnswered = "Until six.";

Exchanges read(const std::string& lines, const FieldMap& map = {}) {
  return exchanges_of(rows_of_bytes(lines, "log", ".jsonl"), map);
}

struct Form {
  const char* name;
  std::string lines;
};

std::vector<Form> forms() {
  const std::string user = R"({"role": "user", "content": "When are you open?"})",
                    assistant = R"({"role": "assistant", "content": "Until six."})";
  const auto text = [](const std::string& key, const std::string& value) {
    return R"({"key": ")" + key + R"(", "value": {"stringValue": ")" + value + "\"}}";
  };
  const auto span = [](const std::string& attributes) {
    return R"({"resourceSpans": [{"scopeSpans": [{"spans": [{"spanId": "x", "attributes": [)" + attributes +
           "]}]}]}]}\n{\"resourceSpans\": []}";
  };
  const std::string
      input =
          R"([{\"role\": \"user\", \"parts\": [{\"type\": \"text\", \"content\": \"When are you open?\"}]}])",
      output =
          R"([{\"role\": \"assistant\", \"parts\": [{\"type\": \"text\", \"content\": \"Until six.\"}]}])";
  return {
      {"flat", R"({"id": "x", "prompt": "When are you open?", "answer": "Until six."})"},
      {"generate's records",
       R"({"id": "x", "prompt": "When are you open?", "response": "Until six.", "finish": "stop"})"},
      {"messages", R"({"id": "x", "messages": [)" + user + ", " + assistant + "]}"},
      {"messages and choices",
       R"({"id": "x", "messages": [)" + user + R"(], "choices": [{"message": )" + assistant + "}]}"},
      {"request and response", R"({"id": "x", "request": {"messages": [)" + user +
                                   R"(]}, "response": {"choices": [{"message": )" + assistant + "}]}}"},
      {"a stream",
       R"({"id": "x", "request": {"messages": [)" + user +
           R"(]}, "response": [{"choices": [{"delta": {"role": "assistant"}}]}, {"choices": [{"delta": {"content": "Until"}}]}, {"choices": [{"delta": {"content": " six."}}]}, {"choices": []}]})"},
      {"LiteLLM", R"({"id": "x", "call_type": "completion", "messages": [)" + user +
                      R"(], "response": {"choices": [{"message": )" + assistant +
                      R"(}]}, "startTime": 1.5})"},
      {"a batch",
       R"({"custom_id": "x", "method": "POST", "body": {"messages": [)" + user + "]}}\n" +
           R"({"id": "b", "custom_id": "x", "response": {"status_code": 200, "body": {"choices": [{"message": )" +
           assistant + "}]}}, \"error\": null}"},
      {"conversation", R"({"id": "x", "conversation": [)" + user + ", " + assistant + "]}"},
      {"ShareGPT",
       R"({"id": "x", "conversations": [{"from": "human", "value": "When are you open?"}, {"from": "gpt", "value": "Until six."}]})"},
      {"Langfuse", R"({"id": "x", "type": "GENERATION", "input": {"messages": [)" + user +
                       R"(]}, "output": )" + assistant +
                       "}\n{\"id\": \"y\", \"type\": \"SPAN\", \"input\": 1}"},
      {"tools", R"({"id": "x", "messages": [)" + user + R"(, {"role": "tool", "content": "18:00"}, )" +
                    assistant + "]}"},
      {"gen_ai messages",
       span(text("gen_ai.input.messages", input) + ", " + text("gen_ai.output.messages", output))},
      {"OpenInference", span(text("llm.input_messages.0.message.role", "user") + ", " +
                             text("llm.input_messages.0.message.content", kAsked) + ", " +
                             text("llm.output_messages.0.message.role", "assistant") + ", " +
                             text("llm.output_messages.0.message.content", kAnswered))},
      {"OpenLLMetry",
       span(text("gen_ai.prompt.0.role", "user") + ", " + text("gen_ai.prompt.0.content", kAsked) + ", " +
            text("gen_ai.completion.0.content", kAnswered))},
  };
}

TEST(Exchange, EveryFormGivesTheSameExchange) {
  for (const Form& form : forms()) {
    SCOPED_TRACE(form.name);
    const Exchanges all = read(form.lines);
    EXPECT_EQ(all.problems, std::vector<std::string>());
    ASSERT_EQ(all.list.size(), 1u);
    EXPECT_EQ(all.list[0].id, "x");
    EXPECT_EQ(all.list[0].prompt, kAsked);
    EXPECT_EQ(all.list[0].answer, kAnswered);
  }
}

TEST(Exchange, ARecordThatCannotBeReadCostsItself) {
  const std::string good = R"({"prompt": "a", "answer": "b"})";
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"{torn", "log:2"},
      {"[1]", "not a JSON object"},
      {R"({"prompt": "a"})", "no answer (found: \"prompt\")"},
      {R"({"text": "a"})", "no request (found: \"text\")"},
      {R"({"prompt": "a", "answer": "  "})", "the answer is empty"},
      {R"({"prompt": " ", "answer": "b"})", "the request is empty"},
      {R"({"prompt": 3, "answer": "b"})", "neither a text nor a list of messages"},
      {R"({"prompt": "a", "answer": {"x": 1}})", "neither a text, a message nor choices"},
      {R"({"messages": [{"role": "judge", "content": "a"}], "answer": "b"})",
       "a message of the role \"judge\""},
      {R"({"custom_id": "z", "response": {"body": {}}})", "the request of custom_id \"z\" is not there"},
      {R"({"resourceSpans": 3, "scopeSpans": 4})", "spans of another form"},
      {R"({"request": {"messages": [{"role": "user", "content": "a"}]}, "response": {"choices": 3}})",
       "log:2"},
      {R"({"conversation": [{"role": "user", "content": "a"}]})", "holds no answer"}};
  for (const auto& [line, says] : bad) {
    SCOPED_TRACE(line);
    const Exchanges all = read(good + "\n" + line + "\n" + good + "\n");
    EXPECT_EQ(all.list.size(), 2u);
    ASSERT_EQ(all.problems.size(), 1u);
    EXPECT_NE(all.problems[0].find("log:2"), std::string::npos) << all.problems[0];
    EXPECT_NE(all.problems[0].find(says), std::string::npos) << all.problems[0];
  }
}

TEST(Exchange, EachAnswerOfAConversationIsOne) {
  const Exchanges all = read(R"({"conversation_id": "c", "id": "c", "model": "m", "conversation": [
{"role": "user", "content": "One?"}, {"role": "assistant", "content": "1"}, {"role": "user", "content": "Two?"},
{"role": "assistant", "content": "2"}]})");
  ASSERT_EQ(all.list.size(), 0u);  // not on one line: each line is a problem
  const Exchanges one = read(
      R"({"id": "c", "model": "m", "conversation": [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "1"}, {"role": "user", "content": "Two?"}, {"role": "assistant", "content": "2"}]})");
  ASSERT_EQ(one.list.size(), 2u);
  EXPECT_EQ(one.list[0].id, "c/1");
  EXPECT_EQ(one.list[1].id, "c/2");
  EXPECT_EQ(one.list[1].prompt, "Human: One?\n\nAssistant: 1\n\nHuman: Two?");
  EXPECT_EQ(one.list[1].answer, "2");
  EXPECT_EQ(one.list[1].extra["model"], "m");
}

TEST(Exchange, IdsBecomeUniqueAndTagsStay) {
  const Exchanges all = read(
      "{\"id\": 7, \"prompt\": \"a\", \"answer\": \"b\", \"tags\": [\"ordinary\", \"x\"]}\n"
      "{\"id\": 7, \"prompt\": \"a\", \"answer\": \"b\"}\n{\"prompt\": \"a\", \"answer\": \"b\"}\n");
  ASSERT_EQ(all.list.size(), 3u);
  EXPECT_EQ(all.list[0].id, "7");
  EXPECT_EQ(all.list[1].id, "7#2");
  EXPECT_EQ(all.list[2].id.size(), 12u);
  EXPECT_EQ(all.list[0].tags, (std::vector<std::string>{"ordinary", "x"}));
}

TEST(Exchange, ThinkingIsNoPartOfAnAnswer) {
  EXPECT_EQ(read(R"({"prompt": "a", "answer": "<think>hm</think>\nb"})").list.at(0).answer, "b");
  EXPECT_EQ(read(R"({"prompt": "a", "answer": "<think>hm"})").problems.size(), 1u);
}

TEST(Exchange, AMapNamesTheFieldsOfOtherForms) {
  const FieldMap map = read_field_map({"prompt=in.question", "answer=out", "id=n"});
  const Exchanges all = read(
      "{\"n\": \"k\", \"in\": {\"question\": \"a\"}, \"out\": \"b\", \"prompt\": \"not this\"}\n{\"out\": "
      "\"b\"}\n",
      map);
  ASSERT_EQ(all.list.size(), 1u);
  EXPECT_EQ(all.list[0].id, "k");
  EXPECT_EQ(all.list[0].prompt, "a");
  ASSERT_EQ(all.problems.size(), 1u);
  EXPECT_EQ(all.problems[0], "log:2: no field \"in.question\"");
  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{"prompt"}, {"prompt="}, {"colour=x"}, {"id=a", "id=b"}})
    EXPECT_THROW(read_field_map(wrong), UsageError);
}

}  // namespace
}  // namespace cai
