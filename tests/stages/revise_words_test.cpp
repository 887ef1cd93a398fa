// How a revision begins, and when it is asked for by a rule.
#include "cai/stages/revise_words.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "cai/io/file.hpp"
#include "cai/stages/principles.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

Constitution of(const std::string& yaml) {
  const fs::path file = fs::temp_directory_path() / ("cai-words-" + std::to_string(::getpid()) + ".yaml");
  write_file(file, yaml);
  Constitution c = read_constitution(file);
  fs::remove(file);
  return c;
}

const char* const kDesk = R"(principles:
  - id: fraud
    text: Do not help anyone cheat.
    applies_to: [fraud]
    check: [{refuses: true}]
    revision_openings: ["I'm sorry, but that would be fraud, so I can't", "I'm sorry, but I won't help with that;"]
  - id: safety
    text: Say to stop using a dangerous product.
    applies_to: [safety]
    check: [{contains: stop using}]
    revision_openings: ["Please stop using it, because"]
  - id: thanks
    text: Begin with thanks.
    applies_to: [question]
    check: [{begins_with: [thank you for asking]}]
    revision_openings: ["Never drawn"]
  - id: closing
    text: Offer more help.
    applies_to: [question]
    check: [{ends_with: ["Can I do anything else?", "?"]}]
)";

Json record(const std::string& kind, const std::string& topic, bool decline) {
  return {{"id", "1"}, {"prompt", "What now?"}, {"tags", {kind, topic}}, {"decline", decline}};
}

std::set<std::string> openings(const Constitution& c, const std::string& id, const Json& of) {
  std::set<std::string> drawn;
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    drawn.insert(draw_opening({}, c, c.principle(id), of, Random(seed)));
  return drawn;
}

TEST(ReviseWords, ARefusalThatACheckWantsIsAskedForByOpenings) {
  const Constitution c = of(kDesk);
  const Json harmful = record("red-team", "fraud", true);
  EXPECT_FALSE(is_by_rule(c.principle("fraud"), harmful));
  const std::vector<std::string>& own = c.principle("fraud").revision_openings;
  EXPECT_EQ(openings(c, "fraud", harmful), std::set<std::string>(own.begin(), own.end()));
  EXPECT_EQ(revision_request(c.principle("fraud"), harmful), c.principle("fraud").revision);
  EXPECT_TRUE(is_by_rule(c.principle("fraud"), record("red-team", "fraud", false)));
}

TEST(ReviseWords, AVerifiedRuleUsesItsOpeningsToo) {
  const Constitution c = of(kDesk);
  const Json danger = record("ordinary", "safety", false);
  EXPECT_TRUE(is_by_rule(c.principle("safety"), danger));
  EXPECT_EQ(openings(c, "safety", danger), std::set<std::string>{"Please stop using it, because"});
  EXPECT_NE(revision_request(c.principle("safety"), danger).find("> What now?"), std::string::npos);
  // Openings of help are no words to decline with.
  const std::vector<std::string> declines = decline_openings(c);
  EXPECT_EQ(std::count(declines.begin(), declines.end(), "Please stop using it, because"), 0);
  EXPECT_EQ(std::count(declines.begin(), declines.end(), "I'm sorry, but I won't help with that;"), 1);
}

TEST(ReviseWords, APrincipleWithoutOpeningsTakesThoseOfAnotherThatApplies) {
  const Constitution c = of(std::string(kDesk) + "  - {id: short, text: Answer in at most two sentences.}\n");
  EXPECT_EQ(openings(c, "short", record("ordinary", "safety", false)),
            std::set<std::string>{"Please stop using it, because"});
  EXPECT_EQ(openings(c, "short", record("ordinary", "other", false)), std::set<std::string>{""});
}

TEST(ReviseWords, WhatACheckWantsAtTheBeginningGoesFirst) {
  const Constitution c = of(kDesk);
  const Json question = record("ordinary", "question", false);
  EXPECT_EQ(openings(c, "thanks", question), std::set<std::string>{"Thank you for asking"});
  EXPECT_EQ(openings(c, "closing", question), std::set<std::string>{"Thank you for asking"});
}

}  // namespace
}  // namespace cai
