// What people bring: decisions, pairs in others' forms, the review queue, cases.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "cai/base/error.hpp"
#include "cai/data/cases.hpp"
#include "cai/data/decisions.hpp"
#include "cai/data/pair_import.hpp"
#include "cai/data/preference.hpp"
#include "cai/data/prompt.hpp"
#include "cai/data/review.hpp"
#include "cai/data/run_folder.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("cai-people-" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  fs::path write(const std::string& name, const std::string& text) const {
    fs::create_directories((path / name).parent_path());
    write_file(path / name, text);
    return path / name;
  }
};

Json label(const std::string& id, double p, Json more = Json::object()) {
  Json l = {{"id", id},     {"prompt", "How?"},   {"a", "One."},          {"b", "Two."},
            {"p", p},       {"method", "choice"}, {"orders_agree", true}, {"log_odds", Json::object()},
            {"problem", ""}};
  l.update(more);
  return l;
}

TEST(Decisions, StayWhatTheyWereAndTheLastOneOnAPairCounts) {
  const Folder f;
  const fs::path file = decisions_file(f.path);
  {
    DecisionFile decisions(file);
    decisions.add(decision_on(label("1", 0.9), "b"));
    decisions.add(decision_on(label("2", 0.9), "skip"));
    decisions.add(decision_on(label("1", 0.9), "a"));
    EXPECT_EQ(read_decisions(f.path).size(), 2u) << "read while it is open: each is on disk when add returns";
    EXPECT_THROW(DecisionFile second(file), EnvironmentError);
  }
  const std::string whole = read_file(file);
  write_file(file, whole + "{\"id\":\"3\",\"prom");  // killed while it wrote: that one was never called saved
  EXPECT_EQ(read_decisions(file).size(), 2u);
  { DecisionFile again(file); }
  EXPECT_EQ(read_file(file), whole);
  const People people(read_decisions(f.path));
  EXPECT_EQ(people.on("How?", "One.", "Two."), 1.0);
  EXPECT_EQ(people.on("How?", "Two.", "One."), 0.0) << "whatever order the answers stand in";
  EXPECT_FALSE(people.on("How?", "One.", "Three."));
  EXPECT_FALSE(people.on("Why?", "One.", "Two."));
}

TEST(Decisions, AnAnswerOfAPersonsOwnIsKeptUntilAnotherVerdict) {
  const Folder f;
  const fs::path file = decisions_file(f.path);
  DecisionFile decisions(file);
  decisions.add(decision_on(label("1", 0.9), "edit", " Three. \n"));
  decisions.add(decision_on(label("2", 0.9), "edit", "Four."));
  decisions.add(decision_on(label("2", 0.9), "a"));
  const People people(read_decisions(f.path));
  ASSERT_EQ(people.edits().size(), 1u);
  EXPECT_EQ(people.edits()[0]["edited"], "Three.");
  EXPECT_EQ(people.edits()[0]["a"], "One.");
  EXPECT_EQ(people.on("How?", "One.", "Two."), 1.0)
      << "of the other decision: an edit says nothing on which of the two is better";
  for (const std::string same : {"", " \n", "One.", "Two. "})
    EXPECT_THROW(decision_on(label("1", 0.9), "edit", same), InputError) << same;
  const std::vector<Json> alone =
      read_decisions(f.write("own.jsonl", "{\"id\":\"1\",\"prompt\":\"x\",\"edited\":\"y\"}\n"));
  EXPECT_EQ(People(alone).edits().size(), 1u);
  EXPECT_THROW(
      read_decisions(f.write("empty.jsonl",
                             "{\"id\":\"1\",\"prompt\":\"x\",\"a\":\"y\",\"b\":\"z\",\"edited\":\" \"}\n")),
      InputError);
}

TEST(Decisions, ALastLineWithoutALineBreakCountsWhenItIsWhole) {
  const Folder f;
  const auto line = [](int n) {
    return "{\"id\":\"" + std::to_string(n) + "\",\"prompt\":\"x\",\"a\":\"y\",\"b\":\"z\",\"human\":1}";
  };
  for (const std::string& text :
       {line(1), line(1) + "\n" + line(2), "\xef\xbb\xbf" + line(1) + "\r\n" + line(2) + "\r\n"}) {
    const fs::path file = f.write("review/decisions.jsonl", text);
    const std::size_t count = text.find("\"2\"") == text.npos ? 1 : 2;
    EXPECT_EQ(read_decisions(file).size(), count) << text;
    { DecisionFile(file).add(decision_on(label("3", 0.9), "a")); }
    EXPECT_EQ(read_decisions(file).size(), count + 1) << "what a person wrote is never cut";
  }
}

TEST(Margins, AreOfThePairNotOfItsId) {  // ids repeat from one iteration to the next
  const Folder f;
  const Margins margins = read_margins(f.write("scores.jsonl",
                                               "{\"prompt\":\"x\",\"a\":\"y\",\"b\":\"z\",\"margin\":-1}\n{"
                                               "\"prompt\":\"x\",\"a\":\"y\",\"b\":\"w\",\"margin\":2}\n"));
  EXPECT_EQ(margins.size(), 2u);
  EXPECT_EQ(margins.at({"x", "y", "w"}), 2);
}

TEST(RunFolder, IterationsAreInTheOrderOfTheirNumbers) {
  const Folder f;
  for (const char* name : {"iter-100", "iter-02", "iter-11", "iter-99", "iter-", "iter-x", "other"})
    fs::create_directories(f.path / name);
  std::vector<std::string> names;
  for (const fs::path& p : iterations_of(f.path))
    names.push_back(p.filename());
  EXPECT_EQ(names, (std::vector<std::string>{"iter-02", "iter-11", "iter-99", "iter-100"}));
}

TEST(Preference, AfterAnOverruleThePrincipleIsOneOfTheTierThatDecided) {
  const Principle first{.id = "first", .priority = 1}, b{.id = "b", .priority = 2},
      c{.id = "c", .priority = 2};
  const std::vector<View> views = {{&first, 0.5}, {&b, -5}, {&c, 3}};
  const Preference p = prefer(views);
  EXPECT_TRUE(p.by_rank);
  EXPECT_GT(p.log_odds, 0);
  EXPECT_EQ(p.decisive->id, "first");
}

TEST(Decisions, SomethingElseIsRefusedWithItsLine) {
  const Folder f;
  try {
    read_decisions(f.write("d.jsonl",
                           "{\"id\":\"1\",\"prompt\":\"x\",\"a\":\"y\",\"b\":\"z\",\"human\":1}\n{\"id\":"
                           "\"2\",\"prompt\":\"x\",\"a\":\"y\",\"b\":\"z\",\"human\":2}\n"));
    FAIL();
  } catch (const InputError& e) {
    EXPECT_NE(std::string(e.what()).find("d.jsonl:2"), std::string::npos) << e.what();
  }
  EXPECT_THROW(read_decisions(f.path / "none"), InputError);
  EXPECT_THROW(decision_on(label("1", 0.5), "c"), InputError);
}

TEST(Pairs, OfEachPublishedFormAreReadAlike) {
  const Folder f;
  const auto hh = read_pairs(f.write(
      "hh.jsonl",
      R"({"chosen":"\n\nHuman: How do I bake?\n\nAssistant: Slowly.","rejected":"\n\nHuman: How do I bake?\n\nAssistant: Ask others."})"
      "\n"
      R"({"chosen":"\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Bye\n\nAssistant: Bye.","rejected":"\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Bye\n\nAssistant: No."})"
      "\n"
      R"({"chosen":"\n\nHuman: Hi\n\nAssistant: Hello.","rejected":"\n\nHuman: Ho\n\nAssistant: Hello."})"
      "\n"));
  ASSERT_EQ(hh.records.size(), 2u);
  EXPECT_EQ(hh.left_out, 1) << "two dialogues that part before the last answer";
  EXPECT_EQ(hh.records[0]["prompt"], "How do I bake?");
  EXPECT_EQ(hh.records[0]["chosen"], "Slowly.");
  EXPECT_EQ(hh.records[0]["rejected"], "Ask others.");
  EXPECT_EQ(hh.records[0]["id"], "hh-1");
  EXPECT_EQ(hh.records[1]["prompt"], "Human: Hi\n\nAssistant: Hello.\n\nHuman: Bye");
  EXPECT_EQ(hh.records[1]["chosen"], "Bye.");

  const auto uf = read_pairs(f.write(
      "uf.jsonl",
      R"({"prompt":"How do I bake?","chosen":[{"role":"user","content":"How do I bake?"},{"role":"assistant","content":"Slowly."}],"rejected":[{"role":"user","content":"How do I bake?"},{"role":"assistant","content":"Ask others."}],"score_chosen":8})"
      "\n"
      R"({"id":"2","prompt":"How do I bake?","chosen":[{"role":"assistant","content":"Slowly."}],"rejected":[{"role":"assistant","content":"Ask others."}]})"
      "\n"));
  ASSERT_EQ(uf.records.size(), 2u);
  for (const Json& r : uf.records)
    EXPECT_TRUE(r["prompt"] == "How do I bake?" && r["chosen"] == "Slowly." && r["rejected"] == "Ask others.")
        << r;
  EXPECT_EQ(uf.records[0]["score_chosen"], 8) << "fields that are not known stay";

  const auto ours =
      read_pairs(f.write("ours.jsonl", R"({"id":"x","prompt":"How?","a":"One.","b":"Two.","human":0})"
                                       "\n"));
  EXPECT_EQ(ours.records[0]["id"], "x");
  EXPECT_EQ(ours.left_out, 0);
}

TEST(Review, ShowsWhatIsWorthALookFirstAndLeavesClearLabelsOut) {
  Constitution c;
  c.principles = {with_wordings({.id = "kind", .text = "Be kind."}),
                  with_wordings({.id = "safe", .text = "Be safe."})};
  const std::vector<Json> labels = {label("clear", 0.95, {{"log_odds", {{"kind", 3.0}, {"safe", 2.0}}}}),
                                    label("low", 0.52),
                                    label("order", 0.8, {{"orders_agree", false}}),
                                    label("conflict", 0.7, {{"log_odds", {{"kind", 3.0}, {"safe", -2.0}}}}),
                                    label("none", 0.5, {{"problem", "both refuse"}}),
                                    label("same", 0.5, {{"b", "One."}}),
                                    label("reward", 0.9, {{"b", "Three."}})};
  const auto ids = [](const std::vector<ReviewItem>& queue) {
    std::vector<std::string> found;
    for (const ReviewItem& item : queue)
      found.push_back(item.label["id"]);
    return found;
  };
  EXPECT_EQ(ids(review_queue(c, labels, {}, false)),
            (std::vector<std::string>{"conflict", "order", "low", "none"}));
  EXPECT_EQ(ids(review_queue(c, labels, {{{"How?", "One.", "Three."}, -1.0}, {{"How?", "One.", "Two."}, 1.0}},
                             false)),
            (std::vector<std::string>{"conflict", "reward", "order", "low", "none"}));
  EXPECT_EQ(ids(review_queue(c, labels, {}, true)),
            (std::vector<std::string>{"conflict", "order", "low", "none", "clear", "reward"}));
}

TEST(Cases, AFailureBecomesOneOnceAndTestsDoNot) {
  const Folder f;
  Constitution c;
  c.name = "x", c.version = "1.2.0";
  const fs::path file = f.path / "x.cases.jsonl";
  const std::vector<Json> failures = {
      {{"id", "1"}, {"prompt", "How?"}, {"tags", {"red-team"}}, {"failure", "complied"}},
      {{"id", "2"}, {"prompt", "How? "}, {"tags", {"red-team"}}, {"failure", "complied"}},
      {{"id", "test:kind:1"}, {"prompt", "Why?"}, {"must", "help"}, {"failure", "test"}}};
  EXPECT_EQ(add_failures(file, failures, c), 1);
  EXPECT_EQ(add_failures(file, failures, c), 0);
  EXPECT_EQ(add_failures(file, {{{"prompt", "When?"}, {"tags", {"ordinary"}}, {"failure", "refused"}}}, c),
            1);
  const std::vector<Prompt> cases = read_prompts(file);  // usable as prompts
  ASSERT_EQ(cases.size(), 2u);
  EXPECT_EQ(cases[0].split, "held-out");
  EXPECT_TRUE(cases[0].has_tag("red-team"));
  EXPECT_EQ(cases[0].extra["constitution"], "x 1.2.0");
  EXPECT_THROW(add_failures(f.path / "cases.yaml", failures, c), InputError);
}

}  // namespace
}  // namespace cai
