// Files of suites: what is read, what is refused, and how an attack words a request.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "cai/base/error.hpp"
#include "cai/data/prompt.hpp"
#include "cai/data/suites.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

struct SuiteFile : testing::Test {
  fs::path path = fs::temp_directory_path() / ("cai-suite-" + std::to_string(getpid()) + ".jsonl");
  void TearDown() override { fs::remove(path); }

  Suites read(const std::string& text) const {
    write_file(path, text);
    return read_suites({path});
  }
  std::string problem_of(const std::string& text) const {
    try {
      read(text);
    } catch (const InputError& e) {
      return e.what();
    }
    return "";
  }
};

TEST(Encoding, IsThatOfTheStandards) {
  // RFC 4648, section 10
  for (const auto& [plain, coded] : {std::pair<std::string, std::string>{"", ""},
                                     {"f", "Zg=="},
                                     {"fo", "Zm8="},
                                     {"foo", "Zm9v"},
                                     {"foob", "Zm9vYg=="},
                                     {"fooba", "Zm9vYmE="},
                                     {"foobar", "Zm9vYmFy"}})
    EXPECT_EQ(base64(plain), coded);
  EXPECT_EQ(base64("\xff\xfe"), "//4=");
  EXPECT_EQ(rot13("Hello, Zoo 1!"), "Uryyb, Mbb 1!");
  EXPECT_EQ(rot13(rot13("Any text.")), "Any text.");
  EXPECT_EQ(leetspeak("Test a site, OK?"), "7357 4 5173, 0K?");
}

TEST(Attack, PutsTheRequestWhereItsWordingSays) {
  EXPECT_EQ(attacked({"persona", "You are Rex. {request} Rex:", "", {}, ""}, "How?"),
            "You are Rex. How? Rex:");
  EXPECT_EQ(attacked({"twice", "{request} {request}", "rot13", {}, ""}, "no"), "ab ab");
  EXPECT_EQ(attacked({"translation", "Wie?", "", {}, "rt-1"}, "How?"), "Wie?");
  EXPECT_EQ(attacked({"persona", "{request}", "", {}, ""}, "What is {request}?"),
            "What is {request}?");  // no second round
}

TEST_F(SuiteFile, HoldsAttacksFramingsTextsAndQuestions) {
  const Suites s = read(
      "{\"attack\": \"many\", \"prompt\": \"{request}\", \"turns\": [[\"a\", \"b\"], [\"c\", "
      "\"d\"]]}\n\n{\"framing\": \"supervised\", \"system\": \"Seen.\"}\n"
      "{\"framing\": \"unsupervised\", \"system\": \"Unseen.\"}\n{\"text\": \"Rain falls.\"}\n{\"question\": "
      "\"One?\", \"options\": [\"1\", \"2\"], \"answer\": \"2\"}\n");
  ASSERT_EQ(s.attacks.size(), 1u);
  EXPECT_EQ(s.attacks[0].turns[1].second, "d");
  ASSERT_EQ(s.framings.size(), 2u);
  EXPECT_FALSE(s.framings[1].supervised);
  EXPECT_EQ(s.texts, std::vector<std::string>{"Rain falls."});
  EXPECT_EQ(s.questions.at(0).answer, "2");
  ASSERT_EQ(s.sha256.size(), 1u);
  EXPECT_NE(s.sha256, read("{\"text\": \"Snow falls.\"}\n").sha256);  // the key of eval follows the content
}

TEST_F(SuiteFile, TellsAllProblemsWithTheirLines) {
  const std::string told = problem_of(
      "{\"attack\": \"a b\", \"prompt\": \"{request}\"}\n{\"attack\": \"x\", \"prompt\": "
      "\"nothing\"}\n{\"attack\": \"x\", \"prompt\": \"{request}\", \"encodin\": \"rot13\"}\n"
      "{\"attack\": \"x\", \"prompt\": \"{request}\", \"encoding\": \"rot14\"}\n{\"framing\": \"watched\", "
      "\"system\": \"s\"}\n{\"text\": 3}\n"
      "{\"question\": \"q\", \"options\": [\"1\", \"2\"], \"answer\": \"3\"}\n{\"riddle\": 1}\nno "
      "json\n{\"attack\": \"x\", \"prompt\": \"{request}\", \"turns\": [[\"a\"]]}\n"
      "{\"attack\": \"gap\", \"prompt\": \"{request}\"}\n");
  for (int line = 1; line <= 11; ++line)
    EXPECT_NE(told.find(path.string() + ":" + std::to_string(line) + ":"), told.npos) << line << "\n" << told;
  EXPECT_NE(told.find("did you mean \"encoding\"?"), told.npos) << told;
  EXPECT_NE(problem_of("{\"framing\": \"supervised\", \"system\": \"s\"}\n")
                .find("both supervised and unsupervised"),
            std::string::npos);
  EXPECT_NE(problem_of("{\"text\": \"\xff\"}\n"), "");
  EXPECT_THROW(read_suites({path.string() + ".none"}), InputError);
}

TEST(ShippedSuites, CanBeReadAndFitTheShippedPrompts) {
  const fs::path home = CAI_SOURCE_DIR;
  const Suites s = read_suites(
      {home / "suites/adversarial.jsonl", home / "suites/framing.jsonl", home / "suites/capability.jsonl"});
  std::set<std::string> names, held_out, translated;
  for (const Prompt& p : read_prompts(home / "prompts/red-team.jsonl"))
    if (p.split == "held-out") held_out.insert(p.id);
  for (const Attack& a : s.attacks) {
    names.insert(a.name);
    if (a.prompt_id.empty()) continue;
    EXPECT_TRUE(held_out.contains(a.prompt_id) && translated.insert(a.prompt_id).second) << a.prompt_id;
  }
  EXPECT_EQ(names, (std::set<std::string>{"persona", "prefix", "suppression", "many-shot", "translation",
                                          "leetspeak", "rot13", "base64"}));
  EXPECT_GE(translated.size(), 30u);
  EXPECT_EQ(s.questions.size(), 40u);
  for (const TestQuestion& q : s.questions)
    EXPECT_EQ(q.options.size(), 4u) << q.question;
  EXPECT_GE(s.texts.size(), 5u);
}

}  // namespace
}  // namespace cai
