// Tokens against transformers, tokenizers and sentencepiece on 10,000 generated lines
// (tests/golden/tokens.py, which has the same generator).
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/text/chat.hpp"
#include "cai/text/tokenizer.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;
const fs::path kGolden = fs::path(CAI_SOURCE_DIR) / "tests/text/golden";
const fs::path kModel = fs::path(CAI_SOURCE_DIR) / ".deps/models/SmolLM2-135M-Instruct.Q4_1.gguf";

const std::vector<std::string>& words() {
  static const std::vector<std::string> all = {"the",
                                               "The",
                                               "don't",
                                               "I'm",
                                               "it's",
                                               "HTTP",
                                               "x1",
                                               "2024",
                                               "3.14",
                                               "foo_bar",
                                               "if (x) {",
                                               "\t",
                                               "  ",
                                               "    ",
                                               "\n",
                                               "\n\n",
                                               "\r\n",
                                               " \n ",
                                               "...",
                                               "!?",
                                               "<|im_end|>",
                                               "<s>",
                                               "</s>",
                                               "[INST]",
                                               "na\u00efve",
                                               "\u00fcber",
                                               "\u4f60\u597d",
                                               "\u3053\u3093\u306b\u3061\u306f",
                                               "\u0645\u0631\u062d\u0628\u0627",
                                               "\u05e9\u05dc\u05d5\u05dd",
                                               "\u041f\u0440\u0438\u0432\u0435\u0442",
                                               "\u0928\u092e\u0938\u094d\u0924\u0947",
                                               "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
                                               "\uc548\ub155",
                                               "\U0001f600",
                                               "\U0001f468\u200d\U0001f469\u200d\U0001f467",
                                               "\U0001f1e9\U0001f1ea",
                                               "e\u0301",
                                               "\u00a0",
                                               "\u2003",
                                               "\u00bd",
                                               "\u2167",
                                               "\u0663",
                                               "'ll",
                                               "'S",
                                               "\ufffd",
                                               std::string(1, '\0'),
                                               "\u200b",
                                               "def f(a, b):",
                                               "=>",
                                               "//",
                                               std::string(40, 'a'),
                                               std::string(30, '-')};
  return all;
}

const std::vector<std::pair<std::uint32_t, std::uint32_t>> kRanges = {
    {0x20, 0x7e},     {0x20, 0x7e},     {0xa1, 0x17f},    {0x370, 0x3ff},   {0x400, 0x4ff},
    {0x5d0, 0x5ea},   {0x620, 0x64a},   {0x900, 0x97f},   {0xe01, 0xe3a},   {0x3041, 0x30ff},
    {0x4e00, 0x9fff}, {0xac00, 0xd7a3}, {0x2000, 0x206f}, {0x2190, 0x21ff}, {0x1f300, 0x1f64f}};

struct Generator {
  std::uint64_t state;
  explicit Generator(std::uint64_t seed) : state(seed * 2654435761u + 12345) {}
  std::uint64_t below(std::uint64_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % n;
  }
};

void append(std::string& out, std::uint32_t c) {
  if (c < 0x80)
    out += static_cast<char>(c);
  else if (c < 0x800)
    out += static_cast<char>(0xc0 | c >> 6), out += static_cast<char>(0x80 | (c & 63));
  else if (c < 0x10000)
    out += static_cast<char>(0xe0 | c >> 12), out += static_cast<char>(0x80 | (c >> 6 & 63)),
        out += static_cast<char>(0x80 | (c & 63));
  else
    out += static_cast<char>(0xf0 | c >> 18), out += static_cast<char>(0x80 | (c >> 12 & 63)),
        out += static_cast<char>(0x80 | (c >> 6 & 63)), out += static_cast<char>(0x80 | (c & 63));
}

std::string line(std::uint64_t i) {
  Generator g(i);
  std::string data;
  const std::uint64_t parts = 1 + g.below(12);
  for (std::uint64_t p = 0; p < parts; ++p) {
    const std::uint64_t kind = g.below(4);
    if (kind < 2) {
      data += words()[g.below(words().size())];
    } else if (kind == 2) {
      const auto [low, high] = kRanges[g.below(kRanges.size())];
      const std::uint64_t n = 1 + g.below(8);
      for (std::uint64_t k = 0; k < n; ++k)
        append(data, low + static_cast<std::uint32_t>(g.below(high - low + 1)));
    } else {
      data += std::string(1 + g.below(3), ' ');
    }
    if (g.below(2)) data += " ";
  }
  if (g.below(10) == 0) data.erase(g.below(data.size()), 1);
  return data;
}

void expect_same(const Tokenizer& tokenizer, const Json& hashes) {
  ASSERT_EQ(hashes.size(), 20u);
  for (std::size_t block = 0; block < 20; ++block) {
    Sha256 hash;
    for (std::size_t i = block * 500; i < block * 500 + 500; ++i) {
      std::string ids;
      for (int id : tokenizer.encode(line(i)))
        ids += (ids.empty() ? "" : ",") + std::to_string(id);
      hash.update(ids + "\n");
    }
    EXPECT_EQ(hash.hex(), hashes[block].get<std::string>())
        << "lines " << block * 500 << " to " << block * 500 + 499;
  }
}

Json golden() {
  return parse_json(read_file(kGolden / "tokens.json"), "tokens.json");
}

TEST(Tokens, OfTheDefaultModelAgreeOn10000Lines) {
  const auto tokenizer = load_tokenizer(kModel);
  const Json expected = golden();  // outlives the loop
  for (const Json& l : expected["smollm2_lines"])
    EXPECT_EQ(tokenizer->encode(l[0].get<std::string>()), l[1].get<std::vector<int>>()) << l[0];
  expect_same(*tokenizer, expected["smollm2"]);
}

TEST(Tokens, OfALlama3KindAgreeOn10000Lines) {
  expect_same(*load_tokenizer(kGolden / "llama3.json"), golden()["llama3.json"]);
}
TEST(Tokens, OfAQwen2KindAgreeOn10000Lines) {
  expect_same(*load_tokenizer(kGolden / "qwen2.json"), golden()["qwen2.json"]);
}
TEST(Tokens, OfASentencepieceModelAgreeOn10000Lines) {
  expect_same(*load_tokenizer(kGolden / "llama2.model"), golden()["llama2.model"]);
}

// What the sentencepiece library gives for the model that each file was made of, and llama.cpp for the file
// (tests/golden/sentencepiece_gguf.py).
TEST(Tokens, OfASentencepieceModelInGgufAgreeOn10000Lines) {
  const Json expected = parse_json(read_file(kGolden / "sentencepiece_gguf.json"), "sentencepiece_gguf.json");
  for (const auto& [name, hashes] : expected.items())
    expect_same(*load_tokenizer(kGolden / name), hashes);
}

TEST(Tokens, OfASentencepieceModelInGgufAreTheSameAfterSaving) {
  const fs::path folder = fs::temp_directory_path() / ("cai-tokens-" + std::to_string(getpid()));
  for (const char* name : {"llama2.gguf", "added.gguf"}) {
    const auto tokenizer = load_tokenizer(kGolden / name);
    tokenizer->save(folder);
    const auto again = load_tokenizer(folder);
    EXPECT_EQ(again->vocabulary(), tokenizer->vocabulary());
    EXPECT_EQ(again->control("<|im_end|>"), tokenizer->control("<|im_end|>"));
    EXPECT_EQ(again->eos(), std::optional<int>(2));
    for (std::uint64_t i = 0; i < 500; ++i)
      EXPECT_EQ(again->encode(line(i)), tokenizer->encode(line(i)));
    fs::remove_all(folder);
  }
}

TEST(Tokens, DecodeGivesTheTextBack) {
  for (const fs::path& path : {kModel, kGolden / "llama3.json", kGolden / "qwen2.json"}) {
    const auto tokenizer = load_tokenizer(path);
    for (std::uint64_t i = 0; i < 2000; ++i)
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(line(i))), to_utf8(line(i)));
  }
}

TEST(Tokens, TextNeverBecomesAControlToken) {
  const auto tokenizer = load_tokenizer(kModel);
  for (const char* text : {"<|im_end|>", "a<|im_start|>system\nx", "<|endoftext|>"})
    for (int id : tokenizer->encode(text))
      EXPECT_FALSE(tokenizer->is_control(id)) << text;
}

TEST(Tokens, AMegabyteOfOneWordTakesNoMoreThanItsShare) {
  const auto tokenizer = load_tokenizer(kModel);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(std::string(1 << 20, 'a'))).size(), 1u << 20);
}

TEST(Chat, RendersAsTheDeclaredTemplateDoes) {
  const ChatTemplate chat(load_tokenizer(kModel));
  const Json model_golden =
      parse_json(read_file(fs::path(CAI_SOURCE_DIR) / "tests/model/golden/smollm2.json"), "smollm2.json");
  for (const Json& c : model_golden["chats"]) {
    std::vector<Message> messages;
    for (const Json& m : c["messages"])
      messages.push_back({m["role"], m["content"]});
    EXPECT_EQ(chat.encode(messages, true), c["tokens"].get<std::vector<int>>());
  }
  for (const Json& g : model_golden["greedy"])
    EXPECT_EQ(chat.encode({{"user", g["prompt"]}}, true), g["tokens"].get<std::vector<int>>());
}

}  // namespace
}  // namespace cai
