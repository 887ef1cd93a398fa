#include "cai/base/text.hpp"
#include "cai/stages/training.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "cai/stages/sentences.hpp"

namespace cai {
namespace {

const std::filesystem::path kTokenizers = std::filesystem::path(CAI_SOURCE_DIR) / "tests/text/golden";

TEST(Training, WholeTokensEndWithTheLastWholeSentence) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"Then you are done. The next", "Then you are done."},
      {" Leading spaces stay outside. And so", "Leading spaces stay outside."},
      {"Pi is 3.14 and not", ""},
      {"It costs 3.50 there. Pay 4.", "It costs 3.50 there. Pay 4."},
      {"1. Beat the egg.\n2. Fry it.\n3.", "1. Beat the egg.\n2. Fry it."},
      {"He said \"Stop!\" and then \"go", "He said \"Stop!\""},
      {"Use these:\n- a pan\n- some oi", "Use these:\n- a pan"},
      {"\xe6\xb0\xb4\xe3\x80\x82\xe7\x81\xab", "\xe6\xb0\xb4\xe3\x80\x82"},
      {"No end in sight", ""},
      {"", ""}};
  for (const char* name : {"llama2.model", "llama3.json", "qwen2.json"}) {
    const auto tokenizer = load_tokenizer(kTokenizers / name);
    for (const auto& [text, whole] : cases) {
      const std::vector<int> answer = tokenizer->encode(text);
      const std::size_t n = whole_tokens(*tokenizer, answer);
      ASSERT_LE(n, answer.size());
      EXPECT_EQ(cut_at_sentence(text), whole);
      EXPECT_EQ(n == 0, whole.empty()) << name << ": " << text;
      const std::span<const int> all(answer);
      EXPECT_EQ(trim(tokenizer->decode(all.first(n))), whole) << name;
      if (n > 0) {
        EXPECT_NE(trim(tokenizer->decode(all.first(n - 1))), whole) << name;
      }
    }
  }
}

TEST(Training, ACutAnswerIsComparedWithoutItsTornEnd) {
  EXPECT_EQ(whole_part("Take a pan. Then hea", "length"), "Take a pan.");
  EXPECT_EQ(whole_part("Take a pan. Then heat", "stop"), "Take a pan. Then heat");
  EXPECT_EQ(whole_part("Take a pan and then hea", "length"), "Take a pan and then hea");
}

}  // namespace
}  // namespace cai
