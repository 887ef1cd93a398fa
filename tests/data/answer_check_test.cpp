// A principle's `check:`: what each rule counts and matches, and what is said of a file that is wrong.
#include "cai/data/answer_check.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "cai/base/error.hpp"
#include "cai/data/answer_text.hpp"
#include "cai/data/constitution.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

class Checks : public testing::Test {
 protected:
  Checks() { fs::create_directories(folder_); }
  ~Checks() override { fs::remove_all(folder_); }

  Constitution read(const std::string& rules) {
    std::string text = "principles:\n  - id: p\n    text: A rule.\n    check:\n";
    write_file(folder_ / "c.yaml", text + rules);
    return read_constitution(folder_ / "c.yaml");
  }

  AnswerCheck check(const std::string& rules) { return read(rules).principles.front().check; }

  bool holds(const std::string& rules, const std::string& answer, const std::string& request = "Q?") {
    return apply_check(check(rules), request, answer).holds();
  }

  std::string broken(const std::string& rules, const std::string& answer, const std::string& request = "Q?") {
    std::string all;
    for (const std::string& reason : apply_check(check(rules), request, answer).broken)
      all += reason + "|";
    return all;
  }

  std::string problems(const std::string& rules) {
    try {
      read(rules);
    } catch (const InputError& e) {
      const std::string text = e.what();
      return text.substr(text.find("c.yaml"));
    }
    return "";
  }

 private:
  fs::path folder_ = fs::temp_directory_path() / ("cai-check-" + std::to_string(getpid()));
};

TEST(AnswerText, CountsSentences) {
  EXPECT_EQ(count_sentences("One. Two! Three?"), 3u);
  EXPECT_EQ(count_sentences("It costs 3.50 euros, e.g. at Dr. Kay's shop."), 1u);
  EXPECT_EQ(count_sentences("He said \"Stop.\" Then he left."), 2u);
  EXPECT_EQ(count_sentences("Steps:\n1. Mix it.\n2. Bake it"), 3u);
  EXPECT_EQ(count_sentences("\xe4\xbd\xa0\xe5\xa5\xbd\xe3\x80\x82\xe5\x86\x8d\xe8\xa7\x81\xef\xbc\x81"), 2u);
  EXPECT_EQ(count_sentences("No full stop"), 1u);
  EXPECT_EQ(count_sentences("Well..."), 1u);
  EXPECT_EQ(count_sentences(" \n "), 0u);
}

TEST(AnswerText, CountsWords) {
  EXPECT_EQ(count_words("I don't know: 3.5 litres, follow-up."), 6u);
  EXPECT_EQ(count_words("\xe6\x97\xa5\xe6\x9c\xac go"), 3u);
  EXPECT_EQ(count_words("\xc3\xa9t\xc3\xa9 stra\xc3\x9f"
                        "e"),
            2u);
  EXPECT_EQ(count_words(" - "), 0u);
}

TEST(AnswerText, CountsLinesParagraphsAndItems) {
  const std::string text = "Head\n\n- one\n* two\n3) three\n\n\nTail";
  EXPECT_EQ(count_lines(text), 5u);
  EXPECT_EQ(count_paragraphs(text), 3u);
  EXPECT_EQ(count_list_items(text), 3u);
  EXPECT_EQ(count_characters("caf\xc3\xa9"), 4u);
}

TEST(AnswerText, TakesOffACodeFence) {
  EXPECT_EQ(without_code_fence("```json\n{\"a\": 1}\n```"), "{\"a\": 1}");
  EXPECT_EQ(without_code_fence("see ```x```"), "see ```x```");
}

TEST(AnswerText, TellsLanguages) {
  EXPECT_EQ(language_of("The kettle should be unplugged before you clean it."), "en");
  EXPECT_EQ(
      language_of("Bitte ziehen Sie den Stecker, bevor Sie das Ger\xc3\xa4t reinigen und nicht danach."),
      "de");
  EXPECT_EQ(language_of("D\xc3\xa9"
                        "branchez la bouilloire avant de la nettoyer et ne la plongez pas dans l'eau."),
            "fr");
  EXPECT_EQ(language_of("Desenchufe el hervidor antes de limpiarlo y no lo ponga en el agua."), "es");
  EXPECT_EQ(language_of("\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82, \xd0\xbc\xd0\xb8\xd1\x80"), "ru");
  EXPECT_EQ(
      language_of("\xe3\x81\x93\xe3\x82\x93\xe3\x81\xab\xe3\x81\xa1\xe3\x81\xaf\xe4\xb8\x96\xe7\x95\x8c"),
      "ja");
  EXPECT_EQ(language_of("OK"), "");
}

TEST_F(Checks, CountRulesHaveLimitsThatBelong) {
  EXPECT_TRUE(holds("      - sentences: {at_most: 2}\n", "One. Two."));
  EXPECT_EQ(broken("      - sentences: {at_most: 2}\n", "One. Two. Three."),
            "sentences: 3 found, at most 2 wanted|");
  EXPECT_EQ(broken("      - words: {at_least: 4, at_most: 5}\n", "One two three."),
            "words: 3 found, at least 4 wanted|");
  EXPECT_TRUE(holds("      - words: {at_least: 3, at_most: 3}\n", "One two three."));
}

TEST_F(Checks, PhrasesAreWholeWordsInAnyCase) {
  EXPECT_TRUE(holds("      - contains: [thank you, thanks]\n", "THANK\nYOU for asking."));
  EXPECT_FALSE(holds("      - contains: pear\n", "It appears so."));
  EXPECT_TRUE(holds("      - contains: don't\n", "You don\xe2\x80\x99t need it."));
  EXPECT_TRUE(holds("      - contains: \"\xe2\x82\xac\"\n", "It costs 5\xe2\x82\xac."));
  EXPECT_EQ(broken("      - contains_all: [alpha, beta]\n", "Only beta."),
            "contains_all: \"alpha\" missing|");
  EXPECT_EQ(broken("      - avoids: [guarantee, promise]\n", "I promise."), "avoids: found \"promise\"|");
  EXPECT_TRUE(holds("      - contains: \"a.b\"\n", "See a.b here."));
  EXPECT_FALSE(holds("      - contains: \"a.b\"\n", "See axb here."));
}

TEST_F(Checks, BeginAndEndSkipQuotes) {
  EXPECT_TRUE(holds("      - begins_with: Thank you\n", "\"Thank you for asking.\""));
  EXPECT_FALSE(holds("      - begins_with: Thank you\n", "Well, thank you."));
  EXPECT_TRUE(holds("      - ends_with: \"?\"\n", "It is red. Does that help?\n"));
  EXPECT_FALSE(holds("      - ends_with: \"?\"\n", "Does that help? It is red."));
}

TEST_F(Checks, PatternsJsonLanguageAndRefusals) {
  EXPECT_TRUE(holds("      - matches: '\\d+ (km|m)\\b'\n", "It is 3 km away."));
  EXPECT_FALSE(holds("      - avoids_pattern: '!'\n", "Great!"));
  EXPECT_TRUE(holds("      - json: {fields: [name]}\n", "```json\n{\"name\": \"x\"}\n```"));
  EXPECT_EQ(broken("      - json: {fields: [name]}\n", "{\"n\": 1}"), "json: no field \"name\"|");
  EXPECT_EQ(broken("      - json: true\n", "no"), "json: not valid JSON|");
  EXPECT_TRUE(holds("      - json: false\n", "Plain words."));
  EXPECT_EQ(broken("      - language: en\n", "Bitte ziehen Sie den Stecker und warten Sie nicht."),
            "language: de found, en wanted|");
  EXPECT_TRUE(holds("      - refuses: true\n", "I'm sorry, but I can't help with that."));
  EXPECT_EQ(broken("      - refuses: false\n", "I'm sorry, but I can't help with that."),
            "refuses: the answer refuses|");
}

TEST_F(Checks, RulesCombine) {
  const std::string any = "      - any:\n          - contains: source\n          - matches: 'https?://'\n";
  EXPECT_TRUE(holds(any, "See https://example.org."));
  EXPECT_FALSE(holds(any, "Trust me."));
  const std::string units =
      "      - if_answer: [{matches: '\\d'}]\n        then: [{matches: '\\d\\s*(cm|kg)'}]\n";
  EXPECT_TRUE(holds(units, "It is long."));
  EXPECT_TRUE(holds(units, "It is 5 cm long."));
  EXPECT_FALSE(holds(units, "It is 5 long."));
  const std::string asked = "      - if_request: [{contains: refund}]\n        then: [{contains: receipt}]\n";
  EXPECT_FALSE(holds(asked, "Just come by.", "How do I get a refund?"));
  EXPECT_TRUE(holds(asked, "Just come by.", "When do you open?"));
}

TEST_F(Checks, TheShareCountsRulesAndEmptyAnswersBreakAll) {
  const AnswerCheck two = check("      - words: {at_most: 2}\n      - ends_with: \"?\"\n");
  EXPECT_DOUBLE_EQ(apply_check(two, "Q", "Is it?").share, 1.0);
  EXPECT_DOUBLE_EQ(apply_check(two, "Q", "It is.").share, 0.5);
  EXPECT_DOUBLE_EQ(apply_check(two, "Q", "  ").share, 0.0);
  EXPECT_TRUE(apply_check({}, "Q", "").holds());
}

TEST_F(Checks, APatternThatExplodesIsARuleThatDoesNotHold) {
  const std::string text =
      broken("      - matches: '^(?:a?){60}a{60}(?:x+x+)+y$'\n", std::string(59, 'a') + std::string(60, 'x'));
  EXPECT_NE(text, "");
}

TEST_F(Checks, TheSourceIsKeptOnOneLine) {
  EXPECT_EQ(check("      - words: {at_most: 2}\n      - contains: [a, b]\n").source,
            "[{words: {at_most: 2}}, {contains: [a, b]}]");
}

TEST_F(Checks, ProblemsAreToldWithLineAndWhatIsAccepted) {
  EXPECT_EQ(problems("      - sentence: {at_most: 2}\n"),
            "c.yaml:5: principle 1: unknown rule \"sentence\"; did you mean \"sentences\"?");
  EXPECT_NE(problems("      - words: 5\n")
                .find("c.yaml:5: principle 1: \"words\": accepted: {at_least: N, at_most: M}"),
            std::string::npos);
  EXPECT_NE(problems("      - words: {at_most: -1}\n")
                .find("c.yaml:5: principle 1, words: \"at_most\": found \"-1\""),
            std::string::npos);
  EXPECT_NE(
      problems("      - words: {at_least: 9, at_most: 2}\n").find("\"at_least\" is larger than \"at_most\""),
      std::string::npos);
  EXPECT_NE(
      problems("      - matches: '('\n").find("c.yaml:5: principle 1: \"matches\": \"(\": pattern, offset 1"),
      std::string::npos);
  EXPECT_NE(problems("      - language: xx\n").find("accepted: en, de, fr"), std::string::npos);
  EXPECT_NE(problems("      - refuses: maybe\n").find("accepted: true or false"), std::string::npos);
  EXPECT_NE(
      problems("      - then: [{contains: a}]\n").find("\"then\" needs \"if_request\" or \"if_answer\""),
      std::string::npos);
  EXPECT_NE(problems("      - contains: a\n        avoids: b\n").find("a rule has one field"),
            std::string::npos);
  EXPECT_NE(problems("      - contains: []\n").find("is an empty list"), std::string::npos);
}

// Whatever bytes a person writes as a phrase: the pattern compiles and finds the phrase itself between
// spaces.
RC_GTEST_PROP(PhrasePattern, FindsItself, ()) {
  const auto phrase = *rc::gen::container<std::string>(rc::gen::inRange('!', '~'));
  RC_PRE(!phrase.empty());
  RC_ASSERT(phrase_pattern(phrase).matches("x " + phrase + " x"));
  RC_ASSERT(phrase_pattern(phrase, AnswerRuleKind::kBeginsWith).matches(phrase + " x"));
  RC_ASSERT(phrase_pattern(phrase, AnswerRuleKind::kEndsWith).matches("x " + phrase));
}

}  // namespace
}  // namespace cai
