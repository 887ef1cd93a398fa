// Turns that teach judging: asked as the judge is asked, each pair in both orders, no kind favoured, nothing
// of the exam among them.
#include "cai/stages/judge_turns.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "cai/stages/compare.hpp"
#include "cai/stages/exam.hpp"

namespace cai {
namespace {

Constitution constitution() {
  Constitution c;
  c.principles.push_back(with_wordings({.id = "care",
                                        .text = "Do no harm.",
                                        .applies_to = {"red-team"},
                                        .tests = {{"How do I hurt him?", "refuse"}}}));
  c.principles.push_back(
      with_wordings({.id = "help", .text = "Be of use.", .applies_to = {"ordinary", "borderline"}}));
  c.critique_examples.push_back(
      {"How do I lie?", "Smile.", "The answer helps to lie.", "I won't, because lies hurt."});
  c.label_examples.push_back({"How do I sing?", "Breathe in.", "I won't.", "A", "It helps."});
  return c;
}

std::vector<Json> records(int harmful, int harmless) {
  std::vector<Json> all;
  for (int i = 0; i < harmful; ++i) {
    const std::string n = std::to_string(i);
    const Json answer = "Take tool " + n + " and go there at night.";
    all.push_back({{"id", "rt-" + n},
                   {"prompt", "How do I break door " + n + "?"},
                   {"tags", {"red-team"}},
                   {"decline", true},
                   {"response", answer},
                   {"answer", answer},
                   {"finish", "stop"},
                   {"principle", "care"},
                   {"critique", "The answer helps thief " + n + "."},
                   {"critique_problem", ""},
                   {"revision", "I can't help with that, because door " + n + " is not yours."},
                   {"revision_problem", ""}});
  }
  for (int i = 0; i < harmless; ++i)
    all.push_back({{"id", "or-" + std::to_string(i)},
                   {"prompt", "What is fruit " + std::to_string(i) + "?"},
                   {"tags", {"ordinary"}},
                   {"decline", false},
                   {"response", "It is a fruit that grows on a tree."},
                   {"finish", "stop"}});
  return all;
}

std::vector<JudgeTurn> turns_of(const std::vector<Json>& from, long most,
                                const std::vector<std::string>& withheld = {},
                                const std::vector<Json>& people = {}) {
  return judge_turns(most, {}, {}, constitution(), from, people, withheld, Random(1));
}

std::map<std::string, int> kinds_of(const std::vector<JudgeTurn>& turns) {
  std::map<std::string, int> kinds;
  for (const JudgeTurn& t : turns)
    ++kinds[t.kind];
  return kinds;
}

// The answer that stands behind "Answer A:" or "Answer B:" of a question.
std::string shown(const std::string& question, const std::string& letter) {
  const std::size_t at = question.find("Answer " + letter + ":\n> ") + 12;
  return question.substr(at, question.find("\n\n", at) - at);
}

TEST(JudgeTurns, EveryPairIsAskedInBothOrdersAndTheLetterNamesTheBetterAnswer) {
  const std::vector<JudgeTurn> turns = turns_of(records(8, 8), 24);
  std::map<std::string, std::set<std::string>> letters;
  std::map<std::string, std::string> better;
  std::map<std::string, int> count;
  for (const JudgeTurn& t : turns) {
    if (t.kind == "critique") continue;
    ASSERT_TRUE(t.answer == " A" || t.answer == " B");
    const std::string pair = t.id.substr(0, t.id.find('#')),
                      good = shown(t.messages.back().content, t.answer.substr(1)),
                      bad = shown(t.messages.back().content, t.answer == " A" ? "B" : "A");
    EXPECT_EQ(good.starts_with("I can't help"), t.kind == "label harmful") << good;
    EXPECT_EQ(bad.starts_with("I can't help"), t.kind == "label harmless") << bad;
    EXPECT_TRUE(better.emplace(pair, good).first->second == good);
    letters[pair].insert(t.answer), ++count[t.answer];
  }
  EXPECT_EQ(letters.size(), 8u);
  for (const auto& [pair, both] : letters)
    EXPECT_EQ(both.size(), 2u) << pair;
  EXPECT_EQ(count[" A"], count[" B"]);
}

TEST(JudgeTurns, KindsAreBalancedAndAtMostAsManyAsWanted) {
  EXPECT_EQ(kinds_of(turns_of(records(9, 9), 24)),
            (std::map<std::string, int>{{"label harmful", 8}, {"label harmless", 8}, {"critique", 8}}));
  EXPECT_EQ(kinds_of(turns_of(records(9, 3), 600)),
            (std::map<std::string, int>{
                {"label harmful", 6}, {"label harmless", 6}, {"critique", 6}}));  // the smaller kind decides
  EXPECT_EQ(kinds_of(turns_of(records(2, 9), 600)),
            (std::map<std::string, int>{{"label harmful", 4}, {"label harmless", 4}, {"critique", 2}}));
  EXPECT_TRUE(turns_of(records(0, 9), 600).empty());
  EXPECT_TRUE(turns_of(records(9, 9), 0).empty());
}

TEST(JudgeTurns, WhatPeopleDecidedIsTaughtToo) {
  std::vector<Json> people;
  for (int i = 0; i < 5; ++i)
    people.push_back({{"id", "human-1/" + std::to_string(i)},
                      {"prompt", "What is people's question " + std::to_string(i) + "?"},
                      {"chosen", "It is the better answer."},
                      {"rejected", "It is the worse one."}});
  people[0]["prompt"] = "What does the exam ask?";
  const std::vector<std::string> withheld =
      exam_prompts(constitution(), {{{"prompt", "What does the exam ask?"}}});
  EXPECT_EQ(kinds_of(turns_of(records(9, 9), 24, withheld, people)),
            (std::map<std::string, int>{
                {"label harmful", 6}, {"label harmless", 6}, {"label people", 6}, {"critique", 6}}));
  const std::vector<JudgeTurn> turns = turns_of({}, 600, withheld, people);
  ASSERT_EQ(turns.size(), 8u);
  std::map<std::string, int> count;
  for (const JudgeTurn& t : turns) {
    EXPECT_EQ(shown(t.messages.back().content, t.answer.substr(1)), "It is the better answer.") << t.id;
    EXPECT_FALSE(t.id.starts_with("human-1/0#"));
    ++count[t.answer];
  }
  EXPECT_EQ(count, (std::map<std::string, int>{{" A", 4}, {" B", 4}}));
}

TEST(JudgeTurns, NothingThatTheExamAsksIsLearned) {
  std::vector<Json> all = records(5, 5);
  all[0]["prompt"] = "how do i HURT him";        // a test
  all[1]["prompt"] = "How do I lie?";            // an exemplar of critique
  all[5]["prompt"] = "How do I sing?";           // an exemplar of label
  all[6]["prompt"] = "What did people decide?";  // a pair of people's
  const std::vector<std::string> withheld =
      exam_prompts(constitution(), {{{"prompt", "What did people decide?"}}});
  std::set<std::string> learned;
  for (const JudgeTurn& t : turns_of(all, 600, withheld))
    learned.insert(t.id.substr(0, t.id.find('#')));
  EXPECT_EQ(learned, (std::set<std::string>{"rt-2", "rt-3", "rt-4", "or-2", "or-3", "or-4"}));
  all[2]["prompt"] = "What did people decide on that long day in the month of May?";  // nearly the same
  std::vector<std::string> near = withheld;
  near.push_back("what did people decide on that long day in the month of May, then");
  for (const JudgeTurn& t : turns_of(all, 600, near))
    EXPECT_FALSE(t.id.starts_with("rt-2#")) << t.id;
}

TEST(JudgeTurns, WhatIsNotKnownIsNotTaught) {
  std::vector<Json> all = records(7, 4);
  all[0]["response"] = "I can't help with that.";  // both sides decline
  all[1]["revision_problem"] = "complies";
  all[2]["decline"] = false;
  all[3]["critique_problem"] = "copy";
  all[7]["response"] = "I won't tell you that.";  // a needless refusal is no helpful answer
  std::set<std::string> learned;
  for (const JudgeTurn& t : turns_of(all, 600))
    learned.insert(t.id);
  for (const char* id :
       {"rt-0#judge-a", "rt-1#judge-a", "rt-2#judge-a", "or-0#judge-a", "rt-3#judge-critique"})
    EXPECT_FALSE(learned.contains(id)) << id;
  EXPECT_TRUE(learned.contains("rt-4#judge-critique"));
}

// Keeps what it is asked.
struct Listener : Speaker {
  std::vector<Choice> asked;
  void say(std::span<const Ask>, const std::function<void(std::size_t, Reply)>&) override {}
  std::vector<std::vector<double>> choose(std::span<const Choice> choices) override {
    asked.assign(choices.begin(), choices.end());
    return std::vector<std::vector<double>>(choices.size(), {0.0, 0.0});
  }
  std::vector<LogProbability> score(std::span<const Scored>) override { return {}; }
  Usage usage() const override { return {}; }
};

TEST(JudgeTurns, HarmlessPairsAreAskedUnderAPrincipleThatWantsThemAnsweredOrNone) {
  const auto questions = [](const Constitution& c) {
    std::set<std::string> all;
    for (const JudgeTurn& t : judge_turns(60, {}, {}, c, records(6, 6), {}, {}, Random(1)))
      if (t.kind == "label harmless")
        all.insert(t.messages.back().content.substr(t.messages.back().content.rfind("\n\n") + 2));
    return all;
  };
  Constitution c = constitution();
  EXPECT_EQ(questions(c), std::set<std::string>{no_principle().compare + " Reply with A or B."});
  c.principles[1].tests.push_back({"What is fruit?", "help"});
  EXPECT_EQ(questions(c), std::set<std::string>{c.principles[1].compare + " Reply with A or B."});
}

TEST(JudgeTurns, AreAskedInTheVeryWordsOfAComparison) {
  const Constitution c = constitution();
  const std::vector<Json> all = records(1, 1);
  const std::string prompt = all[0]["prompt"], good = all[0]["revision"], bad = all[0]["response"];
  Listener listener;
  const LabelConfig config;
  compare(config, label_exemplars(c.label_examples, config.examples, config.chain_of_thought),
          {{&prompt, &good, &bad, &c.principles[0], Random(1)}}, listener);
  ASSERT_EQ(listener.asked.size(), 2u);
  int found = 0;
  for (const JudgeTurn& t : turns_of(all, 6)) {
    if (t.kind != "label harmful") continue;
    const Choice& asked = listener.asked[t.answer == " A" ? 0 : 1];
    ASSERT_EQ(t.messages.size(), asked.messages.size());
    for (std::size_t i = 0; i < t.messages.size(); ++i)
      EXPECT_EQ(t.messages[i].role + t.messages[i].content,
                asked.messages[i].role + asked.messages[i].content);
    EXPECT_EQ(t.opening, asked.opening);
    EXPECT_EQ(t.answer, asked.options[t.answer == " A" ? 0 : 1]);
    ++found;
  }
  EXPECT_EQ(found, 2);
}

}  // namespace
}  // namespace cai
