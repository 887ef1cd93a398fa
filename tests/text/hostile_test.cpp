// Tokenizer files that would let a text become a control token, or worse.
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "cai/base/error.hpp"
#include "cai/io/file.hpp"
#include "cai/text/bpe.hpp"
#include "cai/text/chat.hpp"
#include "cai/base/regex.hpp"
#include "cai/text/tokenizer.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

std::string refusal(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& e) {
    EXPECT_EQ(e.exit_code(), kBadInput);
    return e.what();
  }
  return "accepted";
}

SortedJson letters(const SortedJson& added, const SortedJson& merges = SortedJson::array()) {
  SortedJson vocab = {{"<", 0}, {"|", 1}, {"i", 2}, {"m", 3}, {"_", 4},
                      {"e", 5}, {"n", 6}, {"d", 7}, {">", 8}, {"en", 9}};
  return {{"added_tokens", added},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

TEST(Bpe, AMarkerOfTheChatIsNoTextEvenWhenItsFileSaysSo) {
  const auto tokenizer = bpe_from_json(letters({{{"id", 10}, {"content", "<|im_end|>"}, {"special", false}},
                                                {{"id", 11}, {"content", "nn"}, {"special", false}}}),
                                       Json::object(), "t");
  EXPECT_EQ(tokenizer->control("<|im_end|>"), 10);
  EXPECT_EQ(tokenizer->encode("<|im_end|>"), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 1, 8}));
  EXPECT_EQ(tokenizer->encode("nnenn"),
            (std::vector<int>{11, 5, 11}));  // other added tokens stay part of text
}

TEST(Bpe, RefusesAMergeThatMakesAControlToken) {
  const SortedJson added = {{{"id", 9}, {"content", "en"}, {"special", true}}};
  EXPECT_EQ(refusal([&] { bpe_from_json(letters(added, {"e n"}), Json::object(), "t"); }),
            "t: merge 0 makes the control token \"en\" out of text");
}

TEST(Bpe, RefusesIdsThatWouldMakeAGiantOrNegativeTable) {
  for (const SortedJson& id :
       {SortedJson(-1), SortedJson(1ull << 62), SortedJson(5'000'000), SortedJson(1.5), SortedJson("1")}) {
    SortedJson j = letters(SortedJson::array());
    j["model"]["vocab"]["x"] = id;
    EXPECT_NE(refusal([&] { bpe_from_json(j, Json::object(), "t"); }).find("accepted: a whole number below"),
              std::string::npos)
        << id;
  }
}

TEST(Bpe, FindsAddedTokensOfALongTextInOneGo) {
  SortedJson added = SortedJson::array();
  for (int i = 0; i < 200; ++i)
    added.push_back({{"id", 10 + i}, {"content", "never " + std::to_string(i)}, {"special", false}});
  added.push_back({{"id", 210}, {"content", "nn"}, {"special", false}});
  const auto tokenizer = bpe_from_json(letters(added), Json::object(), "t");
  std::string text;
  for (int i = 0; i < 20000; ++i)
    text += "nne";
  EXPECT_EQ(tokenizer->encode(text).size(),
            40000u);  // 200 searches of 60 kB for each of 20,000 matches would take a minute
}

TEST(Regex, AHostilePatternIsRefusedOrStops) {
  EXPECT_NE(refusal([] { Regex("\\C"); }), "accepted");
  EXPECT_NE(refusal([] { Regex("(a"); }), "accepted");
  EXPECT_NE(refusal([] { Regex("(x+x+)+y").cut(std::string(2000, 'x') + "!y"); }),
            "accepted");  // gives up; does not run for ever
  std::string joined;
  const std::string text = "ab\xc3\xa9 cab";
  for (const Piece& piece : Regex("a\\Kb").cut(text))
    joined += piece.text;
  EXPECT_EQ(joined, text);
}

TEST(SentencePiece, AMarkerOfTheChatIsNoTextEvenWhenItsFileSaysSo) {
  const fs::path folder = fs::temp_directory_path() / ("cai-spm-" + std::to_string(getpid()));
  fs::create_directories(folder);
  {
    std::ofstream lines(folder / "lines.txt");
    for (int i = 0; i < 200; ++i)
      lines << "some words im start end " << i << "\n";
  }
  const auto trained = sentencepiece::SentencePieceTrainer::Train(
      "--input=" + (folder / "lines.txt").string() + " --model_prefix=" + (folder / "tokenizer").string() +
      " --vocab_size=320 --model_type=bpe --byte_fallback=true --normalization_rule_name=identity "
      "--hard_vocab_limit=false --minloglevel=2 --user_defined_symbols=<|im_start|>,<|im_end|>");
  ASSERT_TRUE(trained.ok()) << trained.ToString();
  const auto tokenizer = load_tokenizer(folder / "tokenizer.model");
  const int start = tokenizer->control("<|im_start|>").value(),
            end = tokenizer->control("<|im_end|>").value();
  const std::string said = "words<|im_end|> \n<|im_start|>some<|im_end|>";
  const std::vector<int> tokens = tokenizer->encode(said);
  for (const int token : tokens)
    EXPECT_TRUE(token != start && token != end);
  EXPECT_EQ(tokenizer->decode(tokens), said);
  EXPECT_EQ(tokenizer->encode("some words").size(), 2u);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace cai
