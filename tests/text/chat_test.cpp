// Chat formats against what transformers' template engine renders (tests/golden/chats.py).
#include "cai/text/chat.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <unistd.h>

#include "cai/base/error.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kControls = {"<s>",
                                            "</s>",
                                            "<|im_start|>",
                                            "<|im_end|>",
                                            "<|start_header_id|>",
                                            "<|end_header_id|>",
                                            "<|eot_id|>",
                                            "[INST]",
                                            "[/INST]",
                                            "<start_of_turn>",
                                            "<end_of_turn>",
                                            "<|user|>",
                                            "<|assistant|>",
                                            "<|system|>",
                                            "<|end|>"};

// A tokenizer of 256 bytes and the control tokens above: what it renders can be spelled out again.
std::shared_ptr<const Tokenizer> byte_tokenizer(const std::string& chat_template) {
  const fs::path folder = fs::temp_directory_path() / ("cai-chat-" + std::to_string(::getpid()));
  fs::create_directories(folder);
  Json vocabulary = Json::object(), added = Json::array();
  int next = 0;
  for (int byte = 0, unprintable = 256; byte < 256; ++byte) {  // the byte-to-letter table of byte-level BPE
    const bool shown = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int letter = shown ? byte : unprintable++;
    const std::string name = letter < 0x80 ? std::string(1, static_cast<char>(letter))
                                           : std::string{static_cast<char>(0xc0 | letter >> 6),
                                                         static_cast<char>(0x80 | (letter & 63))};
    vocabulary[name] = next++;
  }
  for (const std::string& name : kControls)
    added.push_back({{"id", next++}, {"content", name}, {"special", true}});
  const Json pre = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  write_file(folder / "tokenizer.json",
             to_line({{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", Json::array()}}},
                      {"added_tokens", added},
                      {"pre_tokenizer", pre}}));
  write_file(folder / "tokenizer_config.json",
             to_line({{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"chat_template", chat_template}}));
  const auto tokenizer = load_tokenizer(folder);
  fs::remove_all(folder);
  return tokenizer;
}

bool has(const std::string& text, const char* part) {
  return text.find(part) != text.npos;
}

std::string spelled(const Tokenizer& tokenizer, const std::vector<int>& tokens) {
  std::string text;
  for (const int token : tokens) {
    if (!tokenizer.is_control(token)) text += tokenizer.decode(std::vector<int>{token});
    for (const std::string& name : kControls)
      if (tokenizer.control(name) == token) text += name;
  }
  return text;
}

TEST(Chat, EachFormatIsRenderedAsItsTemplateDoes) {
  const fs::path golden = fs::path(CAI_SOURCE_DIR) / "tests/text/golden/chats.json";
  for (const Json& format : parse_json(read_file(golden), golden.string())) {
    const auto tokenizer = byte_tokenizer(format["template"]);
    const ChatTemplate chat(tokenizer);
    for (const Json& c : format["chats"]) {
      std::vector<Message> messages;
      for (const Json& m : c["messages"])
        messages.push_back({m["role"], m["content"]});
      EXPECT_EQ(spelled(*tokenizer, chat.encode(messages, true)), c["text"].get<std::string>())
          << format["name"];
    }
  }
}

TEST(Chat, WhatAUserTypesIsNeverAControlToken) {
  const fs::path golden = fs::path(CAI_SOURCE_DIR) / "tests/text/golden/chats.json";
  for (const Json& format : parse_json(read_file(golden), golden.string())) {
    const ChatTemplate chat(byte_tokenizer(format["template"]));
    const auto controls = [&](const std::string& typed) {
      long count = 0;
      for (const int token : chat.encode({{"user", typed}}, true))
        count += chat.tokenizer().is_control(token);
      return count;
    };
    std::string all;
    for (const std::string& name : kControls)
      all += name;
    EXPECT_EQ(controls(all), controls("plain")) << format["name"];
  }
}

TEST(Chat, ATemplateThatCannotBeRenderedIsRefused) {
  for (const char* source :
       {"{{ messages[0].content", "{% if %}", "{{ raise_exception('never') }}", "{{ nothing.at.all }}",
        "{{ messages | shout }}", "{% for i in range(10**9) %}x{% endfor %}"})
    EXPECT_THROW(ChatTemplate chat(byte_tokenizer(source)), InputError) << source;
}

TEST(Chat, MessagesThatTheTemplateCannotExpressAreRefused) {
  const fs::path golden = fs::path(CAI_SOURCE_DIR) / "tests/text/golden/chats.json";
  int alternate = 0;
  for (const Json& format : parse_json(read_file(golden), golden.string())) {
    const ChatTemplate chat(byte_tokenizer(format["template"]));
    EXPECT_THROW(chat.encode({{"tool", "x"}}, true), InputError);
    EXPECT_THROW(chat.encode({{"user", "x"}, {"system", "y"}}, true), InputError);
    if (!has(format["template"], "alternate")) continue;
    EXPECT_THROW(chat.encode({{"user", "x"}, {"user", "y"}}, true), InputError);
    ++alternate;
  }
  EXPECT_EQ(alternate, 2);
}

TEST(Chat, TheTokenBehindAnAnswerEndsIt) {
  const auto first_stop = [](const std::string& source) {
    const ChatTemplate chat(byte_tokenizer(source));
    return spelled(chat.tokenizer(), {chat.stops().front()});
  };
  EXPECT_EQ(first_stop("{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + "
                       "'<|im_end|>\n' }}{% endfor %}"),
            "<|im_end|>");
  EXPECT_EQ(first_stop("{% for m in messages %}{{ '<start_of_turn>' + m.role + '\n' + m.content | trim + "
                       "'<end_of_turn>\n' }}{% endfor %}"),
            "<end_of_turn>");
  EXPECT_EQ(
      first_stop("{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"),
      "<|end|>");
  EXPECT_EQ(first_stop("{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"),
            "</s>");  // the tokenizer's own
}

TEST(Chat, WhatEndsAnAnswerIsSavedWithTheModel) {
  const auto tokenizer = byte_tokenizer(
      "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}");
  const int end = tokenizer->control("<|im_end|>").value(), eos = tokenizer->eos().value(),
            eot = tokenizer->control("<|eot_id|>").value();
  const ChatTemplate chat(tokenizer, {{"eos_token_id", {eot, 99'999}}, {"temperature", 0.6}}, {end, eot});
  EXPECT_EQ(chat.stops(), (std::vector<int>{end, eos, eot}));
  const fs::path folder = fs::temp_directory_path() / ("cai-saved-" + std::to_string(::getpid()));
  chat.save(folder);
  const Json generation = parse_json(read_file(folder / "generation_config.json"), "generation_config.json");
  EXPECT_EQ(generation["eos_token_id"], Json(chat.stops()));
  EXPECT_EQ(generation["temperature"], 0.6);
  EXPECT_EQ(load_chat(folder, tokenizer->vocabulary()).stops(), chat.stops());
  fs::remove_all(folder);
}

TEST(Chat, AModelWithoutATemplateIsSavedWithOurs) {
  const auto tokenizer = byte_tokenizer("");
  const ChatTemplate chat(tokenizer);
  const std::vector<Message> messages = {
      {"system", "Be kind."}, {"user", "Hi"}, {"assistant", "Yes?"}, {"user", "Why </s>?"}};
  const std::vector<int> tokens = chat.encode(messages, true);
  EXPECT_EQ(spelled(*tokenizer, tokens),
            "Be kind.\n\nUser: Hi\n\nAssistant: Yes?</s>\n\nUser: Why </s>?\n\nAssistant:");
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), tokenizer->eos().value()), 1);
  const fs::path folder = fs::temp_directory_path() / ("cai-saved-" + std::to_string(::getpid()));
  chat.save(folder);
  const ChatTemplate again = load_chat(folder, tokenizer->vocabulary());
  EXPECT_FALSE(again.tokenizer().chat_template().empty());
  EXPECT_EQ(again.encode(messages, true), tokens);
  fs::remove_all(folder);
}

TEST(Chat, AModelThatAlwaysThinksFindsItsThoughtsClosed) {
  const auto tokenizer = byte_tokenizer(
      "{% for m in messages %}{{ m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<think>\n' "
      "}}{% endif %}");
  EXPECT_EQ(spelled(*tokenizer, ChatTemplate(tokenizer).encode({{"user", "Hi"}}, true)),
            "Hi\n<think>\n\n</think>\n\n");
}

TEST(Thinking, IsKeptApartFromTheAnswer) {
  const auto split = [](const std::string& text) {
    const Answered a = split_thinking(text);
    return a.thinking + "|" + a.answer;
  };
  EXPECT_EQ(split("Just an answer."), "|Just an answer.");
  EXPECT_EQ(split("<think>\nhm\n</think>\n\nYes."), "hm|Yes.");
  EXPECT_EQ(split("hm\n</think>\n\nYes."), "hm|Yes.");  // the prompt had opened it
  EXPECT_EQ(split("<think>\n\n</think>\n\nYes."), "|Yes.");
  EXPECT_EQ(split("  <think>hm, and hm"), "hm, and hm|");
  EXPECT_EQ(split("<think>a</think>b<think>c</think>d"), "a</think>b<think>c|d");
  EXPECT_EQ(split("Use <think> as a tag."), "|Use <think> as a tag.");
  EXPECT_EQ(split(""), "|");
}

}  // namespace
}  // namespace cai
