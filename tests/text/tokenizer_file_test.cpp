// tokenizer.json files of many kinds against the tokenizers library (tests/golden/tokenizer_files.py), and
// what is refused.
#include <gtest/gtest.h>

#include <filesystem>

#include "cai/base/error.hpp"
#include "cai/io/file.hpp"
#include "cai/text/bpe.hpp"
#include "cai/text/normalizer.hpp"
#include "cai/text/pre_tokenizer.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;
const fs::path kGolden = fs::path(CAI_SOURCE_DIR) / "tests/text/golden";

SortedJson golden_file(const std::string& name) {
  return parse_sorted_json(read_file(kGolden / name), name);
}

SortedJson changed(SortedJson whole, const SortedJson& changes) {
  for (const auto& [key, value] : changes.items()) {
    if (key.starts_with("model."))
      whole["model"][key.substr(6)] = value;
    else
      whole[key] = value;
  }
  return whole;
}

TEST(TokenizerFile, EachKindGivesTheTokensOfTheReference) {
  const SortedJson golden = golden_file("tokenizers.json");
  const auto lines = golden["lines"].get<std::vector<std::string>>();
  ASSERT_EQ(golden["kinds"].size(), 29u);
  for (const SortedJson& kind : golden["kinds"]) {
    const auto tokenizer =
        bpe_from_json(changed(golden_file(kind["file"]), kind["changes"]), Json::object(), "t");
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const auto ids = kind["ids"][i].get<std::vector<int>>();
      EXPECT_EQ(tokenizer->encode(lines[i]), ids) << kind["name"] << ": " << lines[i];
      EXPECT_EQ(tokenizer->decode(ids), kind["texts"][i].get<std::string>())
          << kind["name"] << ": " << lines[i];
    }
  }
}

std::string refusal(const SortedJson& json) {
  try {
    bpe_from_json(json, Json::object(), "t");
  } catch (const InputError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(TokenizerFile, WhatIsNotKnownIsRefusedByName) {
  const SortedJson whole = golden_file("qwen2.json");
  for (const char* name : {"BertNormalizer", "Precompiled", "StripAccents", "ByteLevel"})
    EXPECT_EQ(refusal(changed(whole, {{"normalizer", {{"type", name}}}})),
              std::string("t: normaliser \"") + name +
                  "\"; accepted: NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip, Sequence");
  for (const char* name : {"BertPreTokenizer", "UnicodeScripts", "CharDelimiterSplit"})
    EXPECT_NE(refusal(changed(whole, {{"pre_tokenizer", {{"type", name}}}}))
                  .find(std::string("pre-tokeniser \"") + name + "\"; accepted: Sequence"),
              std::string::npos);
  for (const char* name : {"Unigram", "WordPiece"})
    EXPECT_EQ(refusal(changed(whole, {{"model.type", name}})),
              std::string("t: tokenizer model \"") + name + "\"; accepted: BPE");
  EXPECT_EQ(refusal(changed(whole, {{"model.end_of_word_suffix", "</w>"}})),
            "t: model.end_of_word_suffix \"</w>\"; accepted: none");
  EXPECT_EQ(refusal(changed(whole, {{"pre_tokenizer", SortedJson()}})),
            "t: neither a byte-level pre_tokenizer nor byte_fallback; one of them is needed");
}

TEST(TokenizerFile, AddedTokensThatTheModelDoesNotKnowAreLeftOut) {
  SortedJson whole = golden_file("qwen2.json");
  const int known = bpe_from_json(whole, Json::object(), "t")->vocabulary();
  whole["added_tokens"].push_back({{"id", known}, {"content", "[PAD]"}, {"special", true}});
  whole["added_tokens"].push_back({{"id", known + 1}, {"content", "[X]"}, {"special", false}});
  EXPECT_EQ(bpe_from_json(whole, Json::object(), "t")->vocabulary(), known + 2);
  const auto tokenizer = bpe_from_json(whole, Json::object(), "t", known);
  EXPECT_EQ(tokenizer->vocabulary(), known);
  EXPECT_FALSE(tokenizer->control("[PAD]"));
  for (const int id : tokenizer->encode("a [PAD] [X] b"))
    EXPECT_LT(id, known);
  EXPECT_THROW(bpe_from_json(whole, Json::object(), "t", known - 5),
               InputError);  // these are no added tokens
}

TEST(TokenizerFile, OfSeveralTemplatesTheDefaultIsTaken) {
  const Json list = {{{"name", "tool_use"}, {"template", "tools"}},
                     {{"name", "default"}, {"template", "plain"}}};
  EXPECT_EQ(template_of({{"chat_template", list}}, "t"), "plain");
  EXPECT_EQ(template_of({{"chat_template", "one"}}, "t"), "one");
  EXPECT_EQ(template_of(Json::object(), "t"), "");
  EXPECT_EQ(template_of({{"chat_template", Json::array({{{"name", "rag"}, {"template", "only"}}})}}, "t"),
            "only");
  EXPECT_THROW(template_of({{"chat_template", Json::array({{{"name", "rag"}, {"template", "x"}},
                                                           {{"name", "tool_use"}, {"template", "y"}}})}},
                           "t"),
               InputError);
  EXPECT_THROW(template_of({{"chat_template", 7}}, "t"), InputError);
}

TEST(PreNames, AreKnownForTheModelsOfTheFamily) {
  for (const char* name : {"smollm", "gpt-2", "default", "llama-bpe", "qwen2", "deepseek-r1-qwen", "tekken",
                           "gpt-4o", "llama4", "stablelm2", "dbrx", "qwen35", "deepseek-v3", "seed-coder"}) {
    const NamedPre pre = pre_of_name(name, "t");
    EXPECT_TRUE(PreTokenizer::from_json(pre.pre_tokenizer, "t").byte_level()) << name;
    EXPECT_FALSE(PreTokenizer::from_json(pre.pre_tokenizer, "t")
                     .cut("It's 12345 tests, na\u00efve?\n\n  yes", true)
                     .all.empty())
        << name;
  }
  EXPECT_EQ(Normalizer::from_json(pre_of_name("deepseek-r1-qwen", "t").normalizer, "t")("e\u0301"), "\u00e9");
  EXPECT_THROW(pre_of_name("unheard-of", "t"), InputError);
}

std::vector<std::string> cut(const char* name, const std::string& text) {
  const Pieces pieces = PreTokenizer::from_json(pre_of_name(name, "t").pre_tokenizer, "t").cut(text, true);
  return {pieces.all.begin(), pieces.all.end()};
}

TEST(PreNames, CutAsTheirModelsDo) {
  using Strings = std::vector<std::string>;
  EXPECT_EQ(cut("qwen2", "It's 123 HTTPServer"), (Strings{"It", "'s", " ", "1", "2", "3", " HTTPServer"}));
  EXPECT_EQ(cut("llama-bpe", "It's 12345 HTTPServer"),
            (Strings{"It", "'s", " ", "123", "45", " HTTPServer"}));
  EXPECT_EQ(cut("tekken", "It's 12 HTTPServer/\n"),
            (Strings{"It", "'s", " ", "1", "2", " HTTPServer", "/\n"}));
  EXPECT_EQ(cut("gpt-4o", "It's 1234 helloWorld"), (Strings{"It's", " ", "123", "4", " hello", "World"}));
  EXPECT_EQ(cut("smollm", "It's 12"), (Strings{"It", "'s", " ", "1", "2"}));
}

}  // namespace
}  // namespace cai
