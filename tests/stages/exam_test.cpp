// The judge's exam: which pairs, what is counted, what passes.
#include "cai/stages/exam.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <set>

#include "cai/stages/compare.hpp"
#include "cai/data/refusal.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

Constitution constitution() {
  Constitution c;
  Principle care = with_wordings({.id = "care", .text = "Do no harm."});
  for (int i = 0; i < 20; ++i)
    care.tests.push_back({"Harm " + std::to_string(i) + "?", "refuse"});
  care.tests.push_back({"Name a fruit.", "mention", {"apple"}});  // asks for words: no pair
  c.principles.push_back(care);
  for (const char* p : {"one", "two"})
    c.label_examples.push_back({p, "good", "bad", "A", "Because."});
  return c;
}

std::vector<Json> people(int n) {
  std::vector<Json> pairs;
  for (int i = 0; i < n; ++i)
    pairs.push_back({{"id", "h" + std::to_string(i)},
                     {"prompt", "Person " + std::to_string(i) + "?"},
                     {"chosen", "kind words"},
                     {"rejected", "rude words"}});
  return pairs;
}

// Chooses by a rule from the question: true is A.
struct Rule : Speaker {
  std::function<bool(const std::string&)> takes_a;
  explicit Rule(std::function<bool(const std::string&)> rule) : takes_a(std::move(rule)) {}
  void say(std::span<const Ask>, const std::function<void(std::size_t, Reply)>&) override {}
  std::vector<std::vector<double>> choose(std::span<const Choice> choices) override {
    std::vector<std::vector<double>> answers;
    for (const Choice& c : choices)
      answers.push_back(takes_a(c.messages.back().content) ? std::vector<double>{-0.1, -2.4}
                                                           : std::vector<double>{-2.4, -0.1});
    return answers;
  }
  std::vector<LogProbability> score(std::span<const Scored>) override { return {}; }
  Usage usage() const override { return {}; }
};

bool a_is_good(const std::string& question) {
  const std::string a = question.substr(question.find("Answer A:\n> ") + 12,
                                        question.find("Answer B:\n") - question.find("Answer A:\n> ") - 12);
  return a.find("it could hurt someone") != a.npos || a.starts_with("kind") || a.starts_with("good");
}
bool is_of_people(const std::string& question) {
  return question.find("Request:\n> Person") != question.npos;
}

struct Folder {
  fs::path path = fs::temp_directory_path() / ("cai-exam-" + std::to_string(::getpid()));
  Folder() { fs::remove_all(path); }
  ~Folder() { fs::remove_all(path); }
};

Json figures_of(const std::vector<Json>& pairs,
                std::vector<std::pair<std::string, std::function<bool(const std::string&)>>> judges,
                std::vector<Json>* records = nullptr, const LabelConfig& config = {}) {
  const Folder folder;
  std::vector<Rule> rules;
  std::vector<Examinee> examinees;
  for (const auto& [name, rule] : judges)
    rules.emplace_back(rule);
  for (std::size_t i = 0; i < rules.size(); ++i)
    examinees.push_back({judges[i].first, [&rules, i]() -> Speaker& { return rules[i]; }});
  RecordWriter out(folder.path, "exam", "key");
  const Json figures = exam(config, constitution(), pairs, examinees, out, Random(1));
  out.flush();
  if (records) *records = read_records(folder.path);
  return figures;
}

TEST(Exam, WhoKnowsPassesAndWhoTakesTheFirstDoesNot) {
  std::vector<Json> records;
  const Json figures =
      figures_of({}, {{"before", [](const std::string&) { return true; }}, {"after", a_is_good}}, &records);
  EXPECT_TRUE(figures["passed"].get<bool>());
  EXPECT_EQ(figures["method"], "choice");
  const Json &before = figures["judges"]["before"]["constitution"],
             &after = figures["judges"]["after"]["constitution"];
  EXPECT_EQ(before["first_slot"]["value"], 1.0);
  EXPECT_FALSE(before["passed"].get<bool>());
  EXPECT_EQ(after["accuracy"]["value"], 1.0);
  EXPECT_EQ(after["accuracy"]["n"],
            20);  // the exemplars are shown with each question, a test on words is no pair
  EXPECT_EQ(after["first_slot"]["value"], 0.5);
  EXPECT_EQ(records.size(), 40u);
  for (const Json& r : records)
    EXPECT_TRUE(r["judge"] == "before" || r["right"].get<bool>());
  EXPECT_EQ(
      figures_of({}, {{"before", a_is_good}, {"after", [](const std::string&) { return true; }}})["method"],
      "contrast");  // the last one counts
}

TEST(Exam, PeoplesPairsAreAPartOfTheirOwnAndBothPartsMustBePassed) {
  EXPECT_TRUE(figures_of(people(30), {{"judge", a_is_good}})["passed"].get<bool>());
  const auto not_people = [](const std::string& q) { return is_of_people(q) ? !a_is_good(q) : a_is_good(q); };
  const Json wrong = figures_of(people(30), {{"judge", not_people}});
  EXPECT_FALSE(wrong["passed"].get<bool>());
  EXPECT_EQ(wrong["judges"]["judge"]["people"]["accuracy"]["value"], 0.0);
  EXPECT_TRUE(wrong["judges"]["judge"]["constitution"]["passed"].get<bool>());
  EXPECT_NE(wrong["sentence"].get<std::string>().find("in both"), std::string::npos);
  // sigmoid(2.3) = 0.91 towards the wrong side each time: as badly calibrated as can be said.
  EXPECT_NEAR(wrong["judges"]["judge"]["people"]["calibration_error"].get<double>(), 1 / (1 + std::exp(-2.3)),
              1e-6);
}

TEST(Exam, PeoplesPairsAreDrawnWithoutAFavouredSide) {
  std::vector<Json> many = people(300);
  many.push_back({{"id", "open"}, {"prompt", "Person ?"}, {"a", "x"}, {"b", "y"}});  // nobody decided it
  const Constitution c = constitution();
  const std::vector<ExamItem> items = exam_items({}, c, many, Random(1));
  long of_people = 0, a_better = 0;
  for (const ExamItem& item : items) {
    of_people += item.part == "people", a_better += item.part == "people" && item.is_a_better;
    EXPECT_NE(item.id, "open");
  }
  EXPECT_EQ(of_people, 200);
  EXPECT_NEAR(static_cast<double>(a_better), 100, 30);
}

// Answers each question as it is worded: of a refusal and another answer it takes the refusal, unless the
// question asks for help. Where that decides nothing (none or both decline, or the question is under no
// principle) it knows better than we can say, and is given the answer.
struct Literal : Speaker {
  std::map<std::string, std::string> better;  // request: the better answer
  std::set<std::string> asking_for_help;      // questions
  void say(std::span<const Ask>, const std::function<void(std::size_t, Reply)>&) override {}
  std::vector<std::vector<double>> choose(std::span<const Choice> choices) override {
    std::vector<std::vector<double>> answers;
    for (const Choice& c : choices) {
      const std::vector<std::string> parts = parts_of(c.messages.back().content);  // request, A, B, question
      const bool a = is_refusal(parts[1]), b = is_refusal(parts[2]);
      const bool knows = a == b || parts[3].starts_with(no_principle().compare);
      const bool takes_a = knows ? better.at(parts[0]) == parts[1] : asks_for_help(parts[3]) ? b : a;
      answers.push_back(takes_a ? std::vector<double>{-0.01, -5} : std::vector<double>{-5, -0.01});
    }
    return answers;
  }
  bool asks_for_help(const std::string& question) const {
    return std::any_of(asking_for_help.begin(), asking_for_help.end(),
                       [&](const std::string& one) { return question.starts_with(one); });
  }
  static std::vector<std::string> parts_of(const std::string& question) {
    std::vector<std::string> parts;
    const std::size_t a = question.find("\n\nAnswer A:\n> "), b = question.find("\n\nAnswer B:\n> "),
                      end = question.find("\n\n", b + 2);
    return {question.substr(11, a - 11), question.substr(a + 14, b - a - 14),
            question.substr(b + 14, end - b - 14), question.substr(end + 2)};
  }
  std::vector<LogProbability> score(std::span<const Scored>) override { return {}; }
  Usage usage() const override { return {}; }
};

TEST(Exam, ALiteralJudgePassesThatOfEveryShippedConstitution) {
  for (const char* name : {"harmless", "medical", "financial", "customer-service"}) {
    const Constitution c =
        read_constitution(fs::path(CAI_SOURCE_DIR) / "constitutions" / (std::string(name) + ".yaml"));
    Literal judge;
    for (const ExamItem& item : exam_items({}, c, {}, Random(1)))
      judge.better[item.prompt] = item.is_a_better ? item.a : item.b;
    for (const Principle& p : c.principles)
      if (!p.applies_to.empty() &&
          std::all_of(p.applies_to.begin(), p.applies_to.end(),
                      [](const std::string& tag) { return tag == "ordinary" || tag == "borderline"; }))
        judge.asking_for_help.insert(p.compare);
    const Folder folder;
    RecordWriter out(folder.path, "exam", "key");
    const Json figures = exam({}, c, {}, {{"after", [&]() -> Speaker& { return judge; }}}, out, Random(1));
    EXPECT_EQ(figures["judges"]["after"]["constitution"]["accuracy"]["value"], 1.0) << name;
    EXPECT_TRUE(figures["passed"].get<bool>()) << name << figures["sentence"];
  }
}

TEST(Exam, AJudgeThatIsNamedIsAskedWhateverTheResult) {
  const auto takes_first = [](const std::string&) { return true; };
  LabelConfig named;
  named.feedback = "http://127.0.0.1/v1";
  EXPECT_EQ(figures_of({}, {{"after", takes_first}})["method"], "contrast");
  const Json figures = figures_of({}, {{"judge", takes_first}}, nullptr, named);
  EXPECT_EQ(figures["method"], "choice");
  EXPECT_NE(figures["sentence"].get<std::string>().find("did not pass; it is asked all the same"),
            std::string::npos)
      << figures["sentence"];
}

TEST(Exam, InterruptedItEndsWithTheSameRecords) {
  const Folder folder;
  const Constitution c = constitution();
  Rule judge(a_is_good);
  const std::vector<Examinee> examinees{{"judge", [&]() -> Speaker& { return judge; }}};
  {
    RecordWriter out(folder.path, "exam", "key");
    exam({}, c, {}, examinees, out, Random(1));
    out.flush();
  }
  const std::vector<Json> whole = read_records(folder.path);
  fs::remove_all(folder.path);
  {
    RecordWriter out(folder.path, "exam", "key");
    for (std::size_t i = 0; i < 7; ++i)
      out.write(i, whole[i]);
    out.flush();
  }
  RecordWriter out(folder.path, "exam", "key");
  EXPECT_EQ(out.already_written().size(), 7u);
  EXPECT_EQ(exam({}, c, {}, examinees, out, Random(1))["judges"]["judge"]["constitution"]["accuracy"]["n"],
            20);
  out.flush();
  EXPECT_EQ(read_records(folder.path), whole);
}

}  // namespace
}  // namespace cai
