// Chat formats against what transformers' template engine renders (tests/golden/chats.py).
#include "cai/text/chat.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <unistd.h>

#include "cai/base/error.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kControls = {"<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "[INST]", "[/INST]"};

// A tokenizer of 256 bytes and the control tokens above: what it renders can be spelled out again.
std::shared_ptr<const Tokenizer> byte_tokenizer(const std::string& chat_template) {
  const fs::path folder = fs::temp_directory_path() / ("cai-chat-" + std::to_string(::getpid()));
  fs::create_directories(folder);
  Json vocabulary = Json::object(), added = Json::array();
  int next = 0;
  for (int byte = 0, unprintable = 256; byte < 256; ++byte) {  // the byte-to-letter table of byte-level BPE
    const bool shown = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int letter = shown ? byte : unprintable++;
    const std::string name = letter < 0x80 ? std::string(1, static_cast<char>(letter)) : std::string{static_cast<char>(0xc0 | letter >> 6), static_cast<char>(0x80 | (letter & 63))};
    vocabulary[name] = next++;
  }
  for (const std::string& name : kControls) added.push_back({{"id", next++}, {"content", name}, {"special", true}});
  const Json pre = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  write_file(folder / "tokenizer.json", to_line({{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", Json::array()}}}, {"added_tokens", added}, {"pre_tokenizer", pre}}));
  write_file(folder / "tokenizer_config.json", to_line({{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"chat_template", chat_template}}));
  const auto tokenizer = load_tokenizer(folder);
  fs::remove_all(folder);
  return tokenizer;
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
      for (const Json& m : c["messages"]) messages.push_back({m["role"], m["content"]});
      EXPECT_EQ(spelled(*tokenizer, chat.encode(messages, true)), c["text"].get<std::string>()) << format["name"];
    }
  }
}

TEST(Chat, WhatAUserTypesIsNeverAControlToken) {
  const fs::path golden = fs::path(CAI_SOURCE_DIR) / "tests/text/golden/chats.json";
  for (const Json& format : parse_json(read_file(golden), golden.string())) {
    const ChatTemplate chat(byte_tokenizer(format["template"]));
    const auto controls = [&](const std::string& typed) {
      long count = 0;
      for (const int token : chat.encode({{"user", typed}}, true)) count += chat.tokenizer().is_control(token);
      return count;
    };
    std::string all;
    for (const std::string& name : kControls) all += name;
    EXPECT_EQ(controls(all), controls("plain")) << format["name"];
  }
}

TEST(Chat, ATemplateOfAnotherFamilyIsRefused) {
  for (const char* source : {"{{ 'GPT4 Correct User: ' + messages[0]['content'] }}", "{{ '[SYSTEM_PROMPT]' }}{{ '[INST]' + m['content'] + '[/INST]' }}{{ m['content'] + eos_token }}",
                             "{{ '<|user|>\\n' + m['content'] + '<|end|>\\n<|assistant|>\\n' }}", "[INST]", "{{ '[INST]' }}", "{{ eos_token + '[/INST][INST]' }}"})
    EXPECT_THROW(ChatTemplate chat(byte_tokenizer(source)), InputError) << source;
}

TEST(Chat, MessagesThatTheFormatCannotExpressAreRefused) {
  const fs::path golden = fs::path(CAI_SOURCE_DIR) / "tests/text/golden/chats.json";
  for (const Json& format : parse_json(read_file(golden), golden.string())) {
    const ChatTemplate chat(byte_tokenizer(format["template"]));
    EXPECT_THROW(chat.encode({{"tool", "x"}}, true), InputError);
    EXPECT_THROW(chat.encode({{"user", "x"}, {"system", "y"}}, true), InputError);
    const bool alternates = chat.format() == ChatFormat::kLlama2 || chat.format() == ChatFormat::kMistral;
    if (alternates) { EXPECT_THROW(chat.encode({{"user", "x"}, {"user", "y"}}, true), InputError); }
  }
}

}  // namespace
}  // namespace cai
