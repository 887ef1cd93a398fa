// Which prompts are trained on: drawn of each kind, clear of what is evaluated, some of them in wrappers.
#include "cai/stages/prompts.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace cai {
namespace {

class Prompts : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::vector<Json> drawn(const PromptsConfig& config, const std::vector<Attack>& wrappers,
                          std::uint64_t seed = 1) {
    const std::filesystem::path folder = folder_ / std::to_string(++number_);
    RecordWriter out(folder, "prompts", "key");
    figures = prompts(config, all_, {"What is asked in evaluation only, and never trained on?"}, wrappers,
                      out, nullptr, Random(seed), {});
    out.finish(figures, 0, {});
    return read_records(folder);
  }

  static std::vector<Prompt> shelf() {
    static const std::vector<std::string> words = {"river",  "candle", "window", "garden",
                                                   "violin", "ladder", "button", "pepper",
                                                   "carpet", "engine", "mirror", "saddle"};
    std::vector<Prompt> all;
    for (const char* kind : {"red-team", "borderline", "ordinary"})
      for (const std::string& word : words)
        all.push_back(
            {.id = std::string(kind) + "-" + word,
             .text = "Tell the " + word + " about a " + kind + " thing, and then " + word + " again",
             .tags = {kind},
             .split = "train"});
    return all;
  }

  Json figures;
  const std::vector<Attack> wrappers_ = {{.name = "quiz", .prompt = "Quiz: {request} Go!"},
                                         {.name = "letter", .prompt = "Dear you,\n{request}\nSam"}};

 private:
  const std::vector<Prompt> all_ = shelf();
  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("cai-prompts-" + std::to_string(getpid()));
  int number_ = 0;
};

TEST_F(Prompts, AShareOfEachKindIsAskedASecondTimeInAWrapper) {
  PromptsConfig config{.red_team = 8, .ordinary = 12, .borderline = 4};
  config.wrapped = 0.25;
  std::map<std::string, int> wrapped;
  std::map<std::string, Json> plain;
  std::set<std::string> ids, used;
  const std::vector<Json> records = drawn(config, wrappers_);
  for (const Json& record : records) {
    EXPECT_TRUE(ids.insert(record["id"]).second) << record;
    if (!record.contains("wrapper")) plain[record["id"]] = record;
  }
  for (const Json& record : records) {
    if (!record.contains("wrapper")) continue;
    const std::string id = record["id"], name = record["wrapper"], text = record["request"];
    const Json& original = plain.at(id.substr(0, id.rfind('/')));
    EXPECT_EQ(id, original["id"].get<std::string>() + "/" + name);
    EXPECT_EQ(text, original["prompt"]);
    EXPECT_EQ(record["tags"], original["tags"]);
    EXPECT_EQ(record["prompt"], name == "quiz" ? "Quiz: " + text + " Go!" : "Dear you,\n" + text + "\nSam");
    ++wrapped[record["tags"][0]];
    used.insert(name);
  }
  EXPECT_EQ(wrapped, (std::map<std::string, int>{{"red-team", 2}, {"borderline", 1}, {"ordinary", 3}}));
  EXPECT_EQ(records.size(), 24u + 6u);
  EXPECT_EQ(figures["wrapped"], 6);
  EXPECT_EQ(used.size(), 2u);
  EXPECT_EQ(records, drawn(config, wrappers_)) << "the same seed";
  EXPECT_NE(records, drawn(config, wrappers_, 2)) << "another seed";
}

TEST_F(Prompts, WithoutWrappersEachPromptIsAskedOnce) {
  PromptsConfig config{.red_team = 8, .ordinary = 12, .borderline = 4};
  EXPECT_EQ(drawn(config, {}).size(), 24u);
  EXPECT_EQ(figures["wrapped"], 0);
  EXPECT_EQ(wrapped_count(config, 100), 0);
}

}  // namespace
}  // namespace cai
