#include <gtest/gtest.h>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/base/words.hpp"

namespace cai {
namespace {

TEST(Printable, ShowsWhatATerminalOrAReaderWouldNotSee) {
  EXPECT_EQ(printable("a\x1b[31m\r\b\x7f z\n\t"), "a\\x1b[31m\\x0d\\x08\\x7f z\n\t");
  EXPECT_EQ(printable(std::string("\0", 1)), "\\x00");
  EXPECT_EQ(printable("\xc2\x9b"
                      "2J \xe2\x80\xae \xe2\x80\x8b \xc2\xad \xef\xbb\xbf"),
            "\\u009b2J \\u202e \\u200b \\u00ad \\ufeff");
  EXPECT_EQ(printable("\xf3\xa0\x81\x81"),
            "\\U000e0041");  // a tag character: invisible, and some models read it
  EXPECT_EQ(printable("\xff caf\xc3\xa9 \xf0\x9f\x8c\x8d"), "\xef\xbf\xbd caf\xc3\xa9 \xf0\x9f\x8c\x8d");
}

TEST(Printable, NeverLeavesAHiddenCharacter) {
  for (char32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 0x61) {
    if (c >= 0xd800 && c < 0xe000) continue;
    std::string s;
    if (c < 0x80)
      s += static_cast<char>(c);
    else if (c < 0x800)
      s += static_cast<char>(0xc0 | c >> 6), s += static_cast<char>(0x80 | (c & 63));
    else if (c < 0x10000)
      s += static_cast<char>(0xe0 | c >> 12), s += static_cast<char>(0x80 | (c >> 6 & 63)),
          s += static_cast<char>(0x80 | (c & 63));
    else
      s += static_cast<char>(0xf0 | c >> 18), s += static_cast<char>(0x80 | (c >> 12 & 63)),
          s += static_cast<char>(0x80 | (c >> 6 & 63)), s += static_cast<char>(0x80 | (c & 63));
    EXPECT_EQ(printable(s) == s, !is_hidden(c)) << static_cast<std::uint32_t>(c);
    EXPECT_EQ(printable(printable(s)), printable(s));
  }
}

TEST(Printable, KnowsEachKindOfCharacterThatShowsNothing) {
  for (const char32_t c :
       {U'\u034f',     U'\u0600',     U'\u06dd',     U'\u061c',     U'\u115f',     U'\u17b4',     U'\u180b',
        U'\u180e',     U'\u2028',     U'\u2065',     U'\u2800',     U'\u3164',     U'\ufe00',     U'\ufff9',
        U'\U000110bd', U'\U0001d173', U'\U000e0001', U'\U000e0100', U'\U000e01ef', U'\U000f0000', U'\ue000'})
    EXPECT_TRUE(is_hidden(c)) << static_cast<std::uint32_t>(c);
  for (const char32_t c : {U' ', U'\n', U'\u00a0', U'\u00e9', U'\u0301', U'\u2003', U'\u3000', U'\ufe0f',
                           U'\U0001f600', U'\U0001f3fb'})
    EXPECT_FALSE(is_hidden(c)) << static_cast<std::uint32_t>(c);
}

TEST(PlainAscii, EndsAtEachByteThatIsNot) {
  for (int c = 0; c < 256; ++c)
    for (std::size_t at = 0; at < 20; ++at) {
      std::string s = " ~ abcdefghijklmnop ";
      s[at] = static_cast<char>(c);
      for (std::size_t from = 0; from <= s.size(); ++from)
        EXPECT_EQ(plain_ascii(s, from), c >= 0x20 && c < 0x7f ? s.size() : at < from ? s.size() : at) << c;
    }
}

TEST(InQuotes, StaysOnOneLineAndShort) {
  EXPECT_EQ(in_quotes("a\nforged: line\t\x1b"), "\"a\\nforged: line\\t\\x1b\"");
  EXPECT_EQ(in_quotes(std::string(1 << 20, 'x')), "\"" + std::string(100, 'x') + "...\" (1048576 bytes)");
}

TEST(Words, AreThoseOfEachScript) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(words_of("Don't  stop: it\u2019s 3 o'clock\u2014now"),
            (Words{"dont", "stop", "its", "3", "oclock", "now"}));
  EXPECT_EQ(words_of("\u00dcber Stra\u00dfe, \u00c9t\u00e9 \u00ab d\u2019accord \u00bb"),
            (Words{"\u00fcber", "stra\u00dfe", "\u00e9t\u00e9", "daccord"}));
  EXPECT_EQ(words_of("\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!"),
            (Words{"\u043f\u0440\u0438\u0432\u0435\u0442", "\u043c\u0438\u0440"}));
  EXPECT_EQ(words_of("\u6211\u4e0d\u80fd\u3002GPT4\u6a21\u578b"),
            (Words{"\u6211", "\u4e0d", "\u80fd", "gpt4", "\u6a21", "\u578b"}));
  EXPECT_EQ(words_of("\u3067\u304d\u307e\u305b\u3093\u3002").size(), 5u);
  EXPECT_EQ(words_of("\xff\xfe...\n"), Words{});
}

TEST(HoldsWords, FindsWholeWordsInAnyCaseAndApostrophe) {
  EXPECT_FALSE(holds_words("It appears so.", "pear"));
  EXPECT_TRUE(holds_words("I don\u2019t know.", "don't"));
  EXPECT_TRUE(holds_words("Call a DOCTOR, now.", "doctor"));
  EXPECT_TRUE(holds_words("Ask two doctors.", "doctor"));
  EXPECT_FALSE(holds_words("It was doctored.", "doctor"));
  EXPECT_TRUE(holds_words("Please call 911 right away", "call 911"));
  EXPECT_FALSE(holds_words("Please call. 9111", "call 911"));
  EXPECT_TRUE(holds_words("\u8bf7\u54a8\u8be2\u533b\u751f\u3002", "\u533b\u751f"));
  EXPECT_TRUE(holds_words("5 % of it", "%"));
  EXPECT_FALSE(holds_words("anything", ""));
}

TEST(Problems, AreToldTogetherAndNotWithoutEnd) {
  throw_problems({});
  try {
    throw_problems(std::vector<std::string>(1000, "f:1: wrong"));
    FAIL();
  } catch (const InputError& e) {
    EXPECT_EQ(split(e.what(), '\n').size(), 101u);
    EXPECT_EQ(split(e.what(), '\n').back(), "... and 900 more");
  }
}

}  // namespace
}  // namespace cai
