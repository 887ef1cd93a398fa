// What is cut from an answer and what stays; revisions in other languages; whether answers are English.
#include "cai/stages/clean.hpp"

#include <gtest/gtest.h>

#include "cai/stages/sentences.hpp"
#include "cai/stages/language.hpp"

namespace cai {
namespace {

TEST(StripMeta, LeavesGoodAnswersWhole) {
  for (const char* good :
       {"Here is a short dialogue:\n\nUser: Where is the station?\nAssistant: Two streets to the "
        "left.\nUser: Thank you!",
        "User: Where is the station?\nAssistant: Two streets to the left.\nUser: Thank you.\nAssistant: Have "
        "a good trip.",
        "Assistant: How can I help you today?\nCustomer: My parcel is late.\nAssistant: Let me look.",
        "services:\n  web:\n    image: nginx\nuser: root\nsystem: linux\nrequest: 3",
        "```yaml\nversion: 3\nuser: root\n```\nThe second line names the user.",
        "Subject: Request for leave\n\nDear Ms Lee,\n\nI ask for two days off.\n\nRequest: 3 and 4 "
        "May\nReason: a wedding\n\nBest regards",
        "Critique: the plot is thin.\nPrinciple: show, do not tell.\nRevision: cut the first page.",
        "Name: Ann\nSystem: macOS\nUser: ann", "Problem: the tap drips.\nSolution: change the washer.",
        "A good template has three parts.\nRequest: what you want.\nReason: why you want it."})
    EXPECT_EQ(strip_meta(good), good);
}

TEST(StripMeta, CutsANextTurnBehindTheEndOfTheAnswer) {
  for (const char* next :
       {"\nUser: And then?", "\n\nHuman: And then?\n\nAssistant: Nothing.", "\nAssistant: More of it."}) {
    EXPECT_EQ(strip_meta(std::string("Boil it for ten minutes.") + next), "Boil it for ten minutes.");
    EXPECT_EQ(strip_meta(std::string("Use this:\n```\nuser: root\n```") + next),
              "Use this:\n```\nuser: root\n```");
  }
  EXPECT_EQ(strip_meta("Assistant: Boil it for ten minutes."), "Boil it for ten minutes.");
  EXPECT_EQ(strip_meta("Here is a revised version of the answer:\n\nBoil it."), "Boil it.");
  EXPECT_EQ(strip_meta("**Revised answer**: Boil it."), "Boil it.");
  EXPECT_EQ(strip_meta("\"Boil it.\""), "Boil it.");
}

struct Language {
  const char *name, *prompt, *answer, *revision;
};

const Language kLanguages[] = {
    {"Chinese", "怎样才能悄悄打开邻居家的门锁？", "用一根铁丝就可以打开门锁，很简单。",
     "我不能帮你打开邻居家的门锁，因为这会侵犯别人的隐私，也是违法的。"},
    {"Japanese", "隣の家の鍵をこっそり開ける方法を教えて。", "針金を使えばすぐに開きます。",
     "隣の家の鍵を開ける方法は、犯罪になり住む人を怖がらせるので、お伝えできません。"},
    {"German", "Wie öffne ich heimlich das Türschloss meines Nachbarn?", "Nimm einen Draht, das geht leicht.",
     "Dabei helfe ich nicht: Das Türschloss eines Nachbarn zu öffnen, ist Einbruch."},
    {"French", "Comment ouvrir la serrure de mon voisin en secret ?", "Il suffit d’un fil de fer.",
     "Je ne peux pas vous aider à ouvrir cette serrure : c’est un délit."},
    {"Russian", "Как тайно открыть замок соседа?", "Возьмите проволоку, это легко.",
     "Я не могу помочь открыть чужой замок: это преступление."}};

TEST(RevisionProblem, IsNoneForGoodTextInAnyLanguage) {
  for (const Language& l : kLanguages) {
    EXPECT_EQ(revision_problem(l.prompt, l.answer, l.revision, "stop", true), "") << l.name;
    EXPECT_EQ(revision_problem(l.prompt, l.answer, l.revision, "stop", false), "")
        << l.name << ": it shares a word with the prompt";
    EXPECT_EQ(critique_problem(l.answer, l.revision, "stop"), "") << l.name;
    EXPECT_EQ(revision_problem(l.prompt, l.answer, l.answer, "stop", false), "copy") << l.name;
    EXPECT_EQ(first_sentences(std::string(l.revision) + " " + l.answer, 1), l.revision) << l.name;
  }
  EXPECT_EQ(
      revision_problem("怎样才能打开门锁？", "用铁丝。", "我非常喜欢下雨天的音乐会和咖啡馆。", "stop", false),
      "off-topic");
  EXPECT_EQ(revision_problem("怎样才能打开门锁？", "用铁丝。", "不能。", "stop", false), "empty");
}

TEST(Sentences, EndWithTheMarksOfTheirLanguage) {
  EXPECT_EQ(cut_at_sentence("我不能。因为这"), "我不能。");
  EXPECT_EQ(cut_at_sentence("「できません。」と彼"), "「できません。」");
  EXPECT_EQ(cut_at_sentence("मैं नहीं कर सकता। क्योंकि"), "मैं नहीं कर सकता।");
  EXPECT_EQ(cut_at_sentence("Er sagte: „Nein.“ Dann ging"), "Er sagte: „Nein.“");
  EXPECT_EQ(cut_at_sentence("Il dit : « Non. » Puis il"), "Il dit : « Non. »");
}

TEST(Language, IsEnglishOrNot) {
  for (const Language& l : kLanguages)
    EXPECT_FALSE(looks_english(l.revision)) << l.name;
  for (const char* other : {"Ik kan u daar niet mee helpen, want dat is in dit land verboden en gevaarlijk.",
                            "No puedo ayudarte con eso, porque es un delito y hace daño a otras personas.",
                            "Non posso aiutarti con questo, perché è un reato e fa male agli altri.",
                            "Die Antwort ist nicht so einfach, man muss an alle denken und in Ruhe handeln."})
    EXPECT_FALSE(looks_english(other)) << other;
  for (const char* english : {"I'm sorry, but I can't help with that, because it could hurt people.",
                              "To boil an egg, put it in cold water and heat the pan until it boils.",
                              "The capital of Germany is Berlin, a city on the river Spree.", "No."})
    EXPECT_TRUE(looks_english(english)) << english;
}

TEST(Language, WarnsWhereMostAnswersAreNotEnglish) {
  std::vector<std::string> answers;
  for (const Language& l : kLanguages)
    answers.push_back(l.revision);
  EXPECT_NE(language_warning(language_figures(answers)).find("only 0 % of 5 answers look English"),
            std::string::npos);
  EXPECT_EQ(language_warning(
                language_figures({"I'm sorry, but I can't help with that, because it could hurt people."})),
            "");
  EXPECT_EQ(language_warning(language_figures({"", "No."})), "");
}

}  // namespace
}  // namespace cai
