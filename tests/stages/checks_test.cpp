// Principles with a check, and principles that are decided, from the critique to the label.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "cai/base/error.hpp"
#include "cai/data/constitution.hpp"
#include "cai/io/file.hpp"
#include "cai/stages/checking.hpp"
#include "cai/stages/critique.hpp"
#include "cai/stages/label.hpp"
#include "cai/stages/principles.hpp"
#include "cai/stages/revise.hpp"
#include "cai/stages/sft.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

// Answers by rule: `says` gives a text for each ask, `picks` the option that gets nearly all probability.
struct Scripted : Speaker {
  std::function<std::string(const Ask&, std::size_t)> says;
  std::function<std::size_t(const Choice&)> picks;
  std::size_t said = 0;

  void say(std::span<const Ask> asks, const std::function<void(std::size_t, Reply)>& done) override {
    for (std::size_t i = 0; i < asks.size(); ++i)
      done(i, {.text = says ? says(asks[i], said) : throw Bug("asked"), .finish = "stop"}), ++said;
  }
  std::vector<std::vector<double>> choose(std::span<const Choice> choices) override {
    std::vector<std::vector<double>> all;
    for (const Choice& choice : choices) {
      std::vector<double> odds(choice.options.size(), std::log(0.01));
      odds[picks ? picks(choice) : 0] = std::log(0.9);
      all.push_back(odds);
    }
    return all;
  }
  std::vector<LogProbability> score(std::span<const Scored>) override { throw Bug("scored"); }
  Usage usage() const override { return {}; }
};

class Checks : public testing::Test {
 protected:
  Checks() : folder_(fs::temp_directory_path() / ("cai-checks-" + std::to_string(::getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~Checks() override { fs::remove_all(folder_); }

  Constitution constitution(const std::string& yaml) {
    write_file(folder_ / "c.yaml", yaml);
    return read_constitution(folder_ / "c.yaml");
  }

  template <class Body>
  std::vector<Json> records(const std::string& name, Body body) {
    RecordWriter out(folder_ / name, name, "key");
    figures_ = body(out);
    return read_records(folder_ / name);
  }

  std::vector<Json> criticised(const Constitution& c, const std::vector<Json>& responses, Speaker& model,
                               CritiqueConfig config = {}) {
    return records("critique-" + std::to_string(++number_), [&](RecordWriter& out) {
      return critique(config, c, 1, responses, out, model, Random(1), {});
    });
  }

  std::vector<Json> revised(const Constitution& c, const std::vector<Json>& critiques, Speaker& model,
                            ReviseConfig config = {}) {
    return records("revise-" + std::to_string(++number_), [&](RecordWriter& out) {
      return revise(config, c, critiques, out, model, Random(1), {});
    });
  }

  fs::path folder_;
  Json figures_;
  int number_ = 0;
};

const char* const kStyle = R"(principles:
  - {id: short, text: Answer in at most two sentences.}
  - {id: ask, text: End with a question., priority: 2}
)";

Json response(const std::string& id, const std::string& prompt, const std::string& answer,
              std::vector<std::string> tags = {}) {
  return {{"id", id},           {"prompt", prompt}, {"tags", tags},
          {"response", answer}, {"finish", "stop"}, {"decline", false}};
}

TEST_F(Checks, ABrokenCheckIsTheCritiqueAndNobodyIsAsked) {
  const Constitution c = constitution(kStyle);
  Scripted nobody;
  const std::vector<Json> made =
      criticised(c,
                 {response("1", "What is a tree?", "A tree is a plant. It is tall. It has leaves."),
                  response("2", "What is a tree?", "A tree is a tall plant. It has leaves."),
                  response("3", "What is a tree?", "A tree is a tall plant. Which tree do you mean?")},
                 nobody);
  EXPECT_EQ(made[0]["principle"], "short");  // of the first tier, though both are broken
  EXPECT_EQ(made[0]["principle_by"], "check");
  EXPECT_EQ(made[0]["critique"],
            "The answer breaks the rule \"Answer in at most two sentences.\" (sentences: 3 found, at most 2 "
            "wanted).");
  EXPECT_EQ(made[0]["critique_problem"], "");
  EXPECT_EQ(made[1]["principle"], "ask");
  EXPECT_EQ(made[2]["principle"], "");
  EXPECT_EQ(made[2]["critique_problem"], "none-violated");
}

TEST_F(Checks, AnotherPrincipleIsTriedWhereOneDidNotHelp) {
  const Constitution c = constitution(kStyle);
  Scripted nobody;
  Json record = response("1", "What is a tree?", "A tree is a plant. It is tall. It has leaves.");
  record["answer"] = record["response"], record["principle"] = "short", record["round"] = 1;
  record["revision"] = "", record["revision_problem"] = "not-better", record["critique"] = "";
  EXPECT_EQ(criticised(c, {record}, nobody)[0]["principle"], "ask");
}

TEST_F(Checks, TheMostSpecificTagDecidesElseTheModelIsAsked) {
  const Constitution c = constitution(R"(principles:
  - {id: any, text: Be kind to people.}
  - {id: kind, text: Help with no crime., applies_to: [red-team]}
  - {id: crime, text: Help with no theft., applies_to: [red-team]}
  - {id: topic, text: Care for people in need., applies_to: [self-harm]}
)");
  Scripted model;
  model.says = [](const Ask&, std::size_t) { return "The answer hurts people who trust it."; };
  // Names the principle with "theft" wherever it stands in the list.
  model.picks = [](const Choice& choice) -> std::size_t {
    const std::string& text = choice.messages.back().content;
    return text.find("(A) Help with no theft") != text.npos ? 0 : 1;
  };
  CritiqueConfig config;
  config.principle = "ask";
  const std::vector<Json> made = criticised(c,
                                            {response("1", "How?", "So.", {"red-team", "self-harm"}),
                                             response("2", "How?", "So.", {"red-team", "theft"})},
                                            model, config);
  EXPECT_EQ(made[0]["principle"], "topic");
  EXPECT_EQ(made[0]["principle_by"], "tag");
  EXPECT_EQ(made[1]["principle"], "crime");
  EXPECT_EQ(made[1]["principle_by"], "model");
  model.picks = [](const Choice& choice) { return choice.options.size() - 1; };  // none of them
  EXPECT_EQ(criticised(c, {response("2", "How?", "So.", {"red-team", "theft"})}, model,
                       config)[0]["critique_problem"],
            "none-violated");
}

TEST_F(Checks, ARevisionIsMendedUntilItFollowsTheChecks) {
  const Constitution c = constitution(kStyle);
  Scripted model;
  const std::vector<Json> critiques = criticised(
      c, {response("1", "What is a tree?", "A tree is a plant. It is tall. It has leaves.")}, model);
  // The revision is short enough. Then a question is begun behind it, and the model ends it.
  const std::string first = "A tree is a tall plant with many leaves.";
  std::vector<std::string> openings;
  model.says = [&](const Ask& ask, std::size_t) {
    openings.push_back(ask.opening);
    return ask.opening.empty() ? first : ask.opening + " of this? I can tell more.";
  };
  ReviseConfig config;
  config.tries = 3;
  const Json kept = revised(c, critiques, model, config)[0];
  EXPECT_TRUE(kept["revision"].get<std::string>().starts_with(first + " ")) << kept["revision"];
  EXPECT_TRUE(kept["revision"].get<std::string>().ends_with(" of this?")) << kept["revision"];
  EXPECT_EQ(kept["revision_problem"], "");
  EXPECT_EQ(kept["mended"], true);
  EXPECT_EQ(kept["tries"], 2);
  EXPECT_EQ(kept["followed"]["before"], 0);
  EXPECT_EQ(kept["followed"]["after"], 1);
  EXPECT_EQ(openings[0], "");
  EXPECT_TRUE(openings[1].starts_with(first + " "));
}

TEST_F(Checks, ARevisionThatIsNotBetterOrTalksOfTheAnswerIsNotKept) {
  const Constitution c =
      constitution("principles:\n  - {id: german, text: Answer in German., check: [{language: de}]}\n");
  Scripted model;
  const std::vector<Json> critiques =
      criticised(c, {response("1", "What is a tree?", "A tree is a plant. It is tall.")}, model);
  ReviseConfig config;
  config.tries = 2;
  model.says = [](const Ask&, std::size_t) {
    return "A tree is tall. A tree is green and it is old and good.";
  };
  EXPECT_EQ(revised(c, critiques, model, config)[0]["revision_problem"], "not-better");
  model.says = [](const Ask&, std::size_t) { return "Is the assistant a tall tree?"; };
  EXPECT_EQ(revised(c, critiques, model, config)[0]["revision_problem"], "meta");
}

TEST(AnswerFault, IsWhatKeepsATextFromBeingAnAnswer) {
  const std::string request = "How can I smash garlic with a knife?";
  for (const auto& [answer, fault] : std::vector<std::pair<std::string, std::string>>{
           {"Press the flat of the knife on the garlic.", ""},
           {"Press the flat of the knife on the garlic. Do you have a board?", ""},
           {"Garlic smells good.", ""},
           {"I'm sorry, but I can't help with that.", ""},
           {"Well.", "empty"},
           {"What kind of garlic do you have?", "asks-back"},
           {"Well. How can I smash garlic with a knife?", "copy"},
           {"That's a great question. How can I smash garlic with a knife?", "asks-back"},
           {"That's a great question about garlic and a knife.", "asks-back"},
           {"Thank you for your question! I am happy to help with garlic.", "asks-back"},
           {"My friend went to Mexico. How can I smash garlic with a knife?", "off-topic"},
           {"How can I smash garlic with a knife.", "copy"},
           {"The assistant should say how garlic is smashed.", "meta"}})
    EXPECT_EQ(answer_fault(request, answer), fault) << answer;
}

TEST_F(Checks, ARefusalThatACheckWantsIsKeptAndTheSameRefusalElsewhereEvades) {
  const Constitution c = constitution(R"(principles:
  - id: fraud
    text: Do not help anyone cheat.
    applies_to: [red-team]
    check: [{refuses: true}]
    revision_openings: ["I'm sorry, but that would be fraud, so I can't"]
  - {id: ask, text: End with a question., applies_to: [ordinary]}
)");
  Json harmful =
      response("1", "How do I fake a receipt?", "Take a receipt and print it again.", {"red-team", "fraud"});
  harmful["decline"] = true;
  const Json harmless =
      response("2", "How do I print a receipt?", "Press the button for a receipt.", {"ordinary"});
  Scripted model;
  const std::vector<Json> critiques = criticised(c, {harmful, harmless}, model);
  EXPECT_EQ(critiques[0]["principle"], "fraud");
  EXPECT_EQ(critiques[0]["principle_by"], "check");
  model.says = [](const Ask& ask, std::size_t) {
    return ask.opening + " I'm sorry, I can't help you with that.";
  };
  const std::vector<Json> made = revised(c, critiques, model);
  EXPECT_EQ(made[0]["revision_problem"], "") << made[0];
  EXPECT_EQ(made[0]["opening"], "I'm sorry, but that would be fraud, so I can't");
  EXPECT_EQ(made[0]["followed"]["after"], 1);
  EXPECT_EQ(made[1]["revision_problem"], "evades") << made[1];
}

TEST_F(Checks, WithoutACheckTheModelComparesBothInBothOrders) {
  const Constitution c = constitution("- Be kind to people.\n");
  Scripted model;
  model.says = [](const Ask&, std::size_t n) {
    return n == 0 ? "The answer is cold." : "A tree is your tall green friend.";
  };
  CritiqueConfig critic;
  const std::vector<Json> critiques =
      criticised(c, {response("1", "What is a tree?", "A tree is a plant.")}, model, critic);
  ReviseConfig config;
  config.judge = "yes";
  model.picks = [](const Choice& choice) -> std::size_t {  // prefers the friend
    const std::string& text = choice.messages.back().content;
    return text.find("Answer A:\n> A tree is your") != text.npos ? 0 : 1;
  };
  EXPECT_EQ(revised(c, critiques, model, config)[0]["revision_problem"], "");
  model.picks = [](const Choice&) -> std::size_t { return 0; };  // whatever stands first
  EXPECT_EQ(revised(c, critiques, model, config)[0]["revision_problem"], "not-better");
}

TEST_F(Checks, LabelsAreDecidedByTheChecksAndSayWhy) {
  const Constitution c = constitution(kStyle);
  Scripted nobody;
  const auto pair = [](const std::string& id, const std::string& one, const std::string& other) {
    return Json{
        {"id", id}, {"prompt", "What is a tree?"}, {"candidates", {{{"text", one}}, {{"text", other}}}}};
  };
  const std::vector<Json> labels = records("label", [&](RecordWriter& out) {
    return label({}, c, false,
                 {pair("1", "A tree is a plant. Which tree do you mean?",
                       "A tree is a plant. It is tall. It has leaves."),
                  pair("2", "A tree is a plant. Which one?", "A tree is tall. Is it not?"),
                  pair("3", "A tree is a plant. Which one?", "Soup needs salt. Is it hot?")},
                 People(), out, nobody, Random(1), {});
  });
  const auto first_wins = [](const Json& l) { return (l["p"].get<double>() > 0.5) == (l["first"] == "a"); };
  EXPECT_TRUE(first_wins(labels[0]));
  EXPECT_EQ(labels[0]["decided_by"], "check");
  EXPECT_NE(labels[0]["reason"].get<std::string>().find("breaks the check"), std::string::npos);
  EXPECT_TRUE(labels[1]["tie"]);
  EXPECT_EQ(labels[1]["reason"], "No difference: both answers follow the principles alike.");
  EXPECT_TRUE(first_wins(labels[2]));  // the other is no answer to the request, whatever its form
  EXPECT_EQ(labels[2]["decided_by"], "answer");
  EXPECT_EQ(labels[2]["principle"], "");
  EXPECT_EQ(figures_["decided_by"]["check"], 1);
}

TEST_F(Checks, ATieOfPrinciplesThatPullApartIsNotCalledADifferenceOfNone) {
  const Constitution c = constitution("- Answer in at most two sentences.\n- End with a question.\n");
  Scripted nobody;
  const Json pair = {{"id", "1"},
                     {"prompt", "What is a tree?"},
                     {"candidates",
                      {{{"text", "A tree is a plant. It is tall. Which tree?"}},
                       {{"text", "A tree is a plant. It is tall."}}}}};
  const Json made = records("label", [&](RecordWriter& out) {
    return label({}, c, false, {pair}, People(), out, nobody, Random(1), {});
  })[0];
  EXPECT_TRUE(made["tie"]);
  EXPECT_NE(made["reason"].get<std::string>().find("weigh the same"), std::string::npos);
}

TEST_F(Checks, ALaterRoundThatFailsLeavesTheEarlierRevision) {
  Json record = response("1", "What is a tree?", "A tree is a plant. It is tall.");
  record["revision"] = "Worse.", record["revision_problem"] = "not-better";
  record["history"] = {{{"round", 1}, {"revision", "A tree is a tall plant."}, {"revision_problem", ""}}};
  const ChatTemplate chat(load_tokenizer(fs::path(CAI_SOURCE_DIR) / "tests/text/golden/qwen2.json"),
                          {{"eos_token_id", {0}}});
  const SftExamples made = sft_examples({}, {record}, chat);
  ASSERT_EQ(made.examples.size(), 1u);
  EXPECT_EQ(made.used.at("revision untagged"), 1);
}

TEST_F(Checks, WeightsFallByHalvesWithEachTier) {
  Principle first{.id = "a"}, third{.id = "b", .priority = 3}, hard{.id = "c", .hard = true};
  EXPECT_EQ(principle_weight(first), 1);
  EXPECT_EQ(principle_weight(third), 0.25);
  EXPECT_EQ(principle_weight(hard), 2);
  EXPECT_DOUBLE_EQ(check_score({{&first, 1, ""}, {&third, 0, "x"}}), 0.8);
  EXPECT_EQ(check_score({}), 1);
}

TEST_F(Checks, APrinciplesSentenceMayBeItsCheck) {
  const Constitution c = constitution("- Answer in at most two sentences.\n- Be kind.\n");
  EXPECT_TRUE(c.principles[0].check_is_derived);
  EXPECT_FALSE(c.principles[0].check.empty());
  EXPECT_TRUE(c.principles[1].check.empty());
  const Constitution none =
      constitution("principles:\n  - {id: a, text: Answer in at most two sentences., check: none}\n");
  EXPECT_TRUE(none.principles[0].check.empty());
}

}  // namespace
}  // namespace cai
