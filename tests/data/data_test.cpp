#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/prompt.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;
const fs::path kRoot = CAI_SOURCE_DIR;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("cai-data-" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  fs::path write(const std::string& name, const std::string& text) const {
    write_file(path / name, text);
    return path / name;
  }
};

template <class Read>
std::string problems(Read read) {
  try {
    read();
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& piece) {
  return text.find(piece) != text.npos;
}

TEST(Prompts, AreReadFromEachFormAlike) {
  const Folder f;
  const auto jsonl = read_prompts(f.write("p.jsonl",
                                          "{\"id\":\"1\",\"prompt\":\"How?\",\"tags\":[\"ordinary\"]}\n{"
                                          "\"id\":\"2\",\"prompt\":\"Why?\",\"tag\":\"red-team\"}\n"));
  const auto tsv = read_prompts(f.write("p.tsv", "id\tprompt\ttags\n1\tHow?\tordinary\n2\tWhy?\tred-team\n"));
  const auto lines = read_prompts(f.write("p.txt", "How?\n\nWhy?\n"));
  ASSERT_EQ(jsonl.size(), 2u);
  ASSERT_EQ(tsv.size(), 2u);
  ASSERT_EQ(lines.size(), 2u);
  for (int i = 0; i < 2; ++i)
    EXPECT_TRUE(jsonl[i].text == tsv[i].text && tsv[i].text == lines[i].text && jsonl[i].tags == tsv[i].tags);
}

TEST(Prompts, AllProblemsOfAFileComeTogether) {
  const Folder f;
  const std::string all = problems([&] {
    read_prompts(f.write("bad.jsonl",
                         "{\"prompt\":\"a\"}\n{\"text\":\"b\"}\n{\"id\":\"x\",\"prompt\":\"c\"}\n{\"id\":"
                         "\"x\",\"prompt\":\"d\"}\n"));
  });
  EXPECT_TRUE(has(all, "bad.jsonl:2")) << all;
  EXPECT_TRUE(has(all, "bad.jsonl:4")) << all;
  EXPECT_FALSE(problems([&] { read_prompts(f.write("nul.txt", "\xff\xfe\n")); }).empty());
  EXPECT_FALSE(problems([&] { read_prompts(f.path / "absent.txt"); }).empty());
}

RC_GTEST_PROP(Prompts, AnyBytesEndInPromptsOrAnInputError, (std::string bytes)) {
  const Folder f;
  for (const char* name : {"any.txt", "any.tsv", "any.jsonl"})
    problems([&] { read_prompts(f.write(name, bytes)); });
}

// The shipped sets: enough of each kind, both splits, no prompt twice.
TEST(Prompts, TheShippedSetsHoldWhatTheyPromise) {
  std::set<std::string> seen;
  for (const auto& [name, least] :
       std::map<std::string, std::size_t>{{"red-team", 250}, {"ordinary", 250}, {"borderline", 200}}) {
    const auto all = read_prompts(kRoot / "prompts" / (name + ".jsonl"));
    EXPECT_GE(all.size(), least) << name;
    std::map<std::string, std::size_t> splits;
    for (const Prompt& p : all) {
      EXPECT_TRUE(p.has_tag(name)) << p.id;
      EXPECT_TRUE(seen.insert(lower_ascii(trim(p.text))).second) << p.id;
      ++splits[p.split];
    }
    EXPECT_GT(splits["train"], least / 2) << name;
    EXPECT_GE(splits["held-out"], least / 4) << name;
  }
}

TEST(Constitution, AListOfSentencesIsOne) {
  const Folder f;
  const Constitution c = read_constitution(f.write("c.yaml", "- Be kind.\n- Be brief.\n"));
  ASSERT_EQ(c.principles.size(), 2u);
  EXPECT_EQ(c.principles[1].text, "Be brief.");
  for (const Principle& p : c.principles)
    EXPECT_FALSE(p.id.empty() || p.critique.empty() || p.revision.empty() || p.compare.empty() ||
                 p.opposite.empty());
}

TEST(Constitution, AllProblemsComeTogetherWithTheirLines) {
  const Folder f;
  const std::string all = problems([&] {
    read_constitution(f.write(
        "bad.yaml",
        "name: x\nprinciples:\n  - id: a\n    text: One.\n  - id: a\n    text: Two.\n  - id: b\n    text: "
        "''\n  - id: c\n    text: Three.\n    wieght: 2\n    tests: [{prompt: q, must: fly}]\n"));
  });
  for (const char* piece : {"bad.yaml:5", "bad.yaml:8", "bad.yaml:11", "weight", "bad.yaml:12"})
    EXPECT_TRUE(has(all, piece)) << piece << "\n" << all;
}

TEST(Constitution, TheShippedOnesAreSound) {
  for (const auto& entry : fs::directory_iterator(kRoot / "constitutions")) {
    const Constitution c = read_constitution(entry.path());
    EXPECT_GE(c.principles.size(), 5u) << entry.path();
    bool all_checked = true;  // rules that a program verifies need neither tests nor exemplars
    for (const Principle& p : c.principles) {
      EXPECT_FALSE(p.tests.empty() && p.check.empty()) << entry.path() << " " << p.id;
      all_checked = all_checked && !p.check.empty();
    }
    if (all_checked) continue;
    EXPECT_GE(c.critique_examples.size(), 3u) << entry.path();
    EXPECT_GE(c.label_examples.size(), 3u) << entry.path();
    long a = 0;
    for (const LabelExample& e : c.label_examples)
      a += e.better == "A";
    EXPECT_TRUE(a > 0 && a < static_cast<long>(c.label_examples.size()))
        << entry.path() << ": one slot is always better";
  }
}

RC_GTEST_PROP(Constitution, AnyTextEndsInAConstitutionOrAnInputError, (std::string text)) {
  const Folder f;
  problems([&] { read_constitution(f.write("any.yaml", text)); });
}

}  // namespace
}  // namespace cai
