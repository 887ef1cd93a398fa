#include "cai/stages/exam.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/statistics.hpp"
#include "cai/base/text.hpp"
#include "cai/io/interval.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/compare.hpp"
#include "cai/stages/pairs.hpp"
#include "cai/stages/principles.hpp"

namespace cai {
namespace {

constexpr std::size_t kPeoplesPairs =
    200;  // 95 % of 200 is known to 3 points, 60 % to 7; each costs two questions

bool is_named_judge(const LabelConfig& config) {
  return !config.feedback.empty() && config.feedback != "self";
}

std::string percent(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f", 100 * x);
  return text;
}

// What one examinee made of one part; empty when it has no items.
Json part_figures(const LabelConfig& config, const std::string& part, const std::vector<ExamItem>& items,
                  const std::vector<Verdict>& verdicts) {
  long usable = 0, unusable = 0, sampled = 0;
  ClusteredShare right, first;  // pairs may share a prompt, the two orders of a pair do
  std::vector<double> predicted, outcome;
  double mass = 0;
  std::map<std::string, long> problems;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].part != part) continue;
    const Verdict& v = verdicts[i];
    mass += v.mass;
    sampled += v.samples > 0;
    if (!v.is_usable) {
      ++unusable, ++problems[problem_kind(v.problem)];
      continue;
    }
    ++usable;
    right.add(items[i].prompt, (v.log_odds() > 0) == items[i].is_a_better && v.log_odds() != 0);
    first.add(items[i].prompt, v.first > 0);
    first.add(items[i].prompt, v.second < 0);
    predicted.push_back(1 / (1 + std::exp(-v.log_odds()))), outcome.push_back(items[i].is_a_better);
  }
  if (usable + unusable == 0) return {};
  const Interval accuracy = right.interval();
  return {{"accuracy", interval_json(accuracy)},
          {"first_slot", interval_json(first.interval())},
          {"calibration_error", calibration_error(predicted, outcome)},
          {"unusable", unusable},
          {"problems", problems},
          {"mean_mass", mass / static_cast<double>(usable + unusable)},
          {"from_samples", sampled},
          {"passed", usable > 0 && accuracy.low > 0.5 + config.exam_margin}};
}

std::string right_of(const Json& part) {
  const Json& accuracy = part.at("accuracy");
  const long n = accuracy.at("n").get<long>();
  return std::to_string(std::lround(accuracy.at("value").get<double>() * static_cast<double>(n))) + " of " +
         std::to_string(n);
}

std::string most_frequent(const Json& problems) {
  std::string name;
  long most = 0;
  for (const auto& [problem, n] : problems.items())
    if (n.get<long>() > most) most = n.get<long>(), name = problem;
  return name;
}

std::string rounded_interval(const Json& accuracy) {
  return percent(accuracy.at("value").get<double>()) + " %, 95 % interval " +
         percent(accuracy.at("low").get<double>()) + " to " + percent(accuracy.at("high").get<double>()) +
         " %";
}

// What follows from the result, in words.
std::string consequence(const LabelConfig& config, const Json& mine, bool passed) {
  const bool is_named = is_named_judge(config);
  const std::string who = is_named ? "; it is asked all the same, because it was named" : "";
  if (mine.empty())
    return is_named                  ? who + "."
           : config.method == "auto" ? "; prompts with a kind tag are labelled by contrast."
                                     : ".";
  const std::string bound =
      "; " + std::string(config.method == "auto" && !is_named ? "choosing by itself" : "passing") +
      " needs a lower bound above " + percent(0.5 + config.exam_margin) + " %" +
      (mine.size() > 1 ? " in both" : "") + ", so it ";
  return bound + (passed ? "passed." : "did not pass" + who + ".");
}

std::string sentence_of(const LabelConfig& config, const Json& judges, const std::string& last, bool passed) {
  const Json& mine = judges.at(last);
  std::string text;
  if (mine.empty())
    text =
        "There is nothing to examine the judge with: the constitution has no tests or exemplars, and "
        "label.exam_pairs is empty";
  for (const auto& [part, figures] : mine.items()) {
    const std::string pairs = part == "constitution" ? " pairs with a known answer right"
                              : text.empty()         ? " pairs that people decided right"
                                                     : "";
    text += (text.empty() ? "The judge got " : "; of people's pairs, ") + right_of(figures) + pairs + " (" +
            rounded_interval(figures.at("accuracy")) + ") and took the first answer in " +
            percent(figures.at("first_slot").at("value").get<double>()) + " % of the questions";
    if (last == "after" && judges.contains("before") && judges.at("before").contains(part)) {
      const Json& before = judges.at("before").at(part);
      text += " (before fine-tuning: " + right_of(before) + ", " +
              percent(before.at("first_slot").at("value").get<double>()) + " %)";
    }
    const long unusable = figures.at("unusable").get<long>();
    if (unusable > 0)
      text += "; " + std::to_string(unusable) + " questions gave no verdict (" +
              most_frequent(figures.at("problems")) + ")";
  }
  return text + consequence(config, mine, passed);
}

}  // namespace

std::vector<std::string> exam_prompts(const Constitution& constitution, const std::vector<Json>& people) {
  std::vector<std::string> prompts;
  for (const CritiqueExample& e : constitution.critique_examples)
    prompts.push_back(e.prompt);
  for (const LabelExample& e : constitution.label_examples)
    prompts.push_back(e.prompt);
  for (const Principle& p : constitution.principles)
    for (const PrincipleTest& test : p.tests)
      prompts.push_back(test.prompt);
  for (const Json& record : people)
    prompts.push_back(optional_text(record, "prompt"));
  return prompts;
}

std::vector<ExamItem> exam_items(const LabelConfig& config, const Constitution& constitution,
                                 const std::vector<Json>& people, Random random) {
  std::vector<ExamItem> items;
  const auto add = [&](const std::string& id, const std::string& prompt, const std::string& good,
                       const std::string& bad, const Principle* principle) {
    const bool is_a_better = random.derive(id).derive("side").uniform() < 0.5;
    items.push_back({id, "constitution", prompt, is_a_better ? good : bad, is_a_better ? bad : good,
                     is_a_better, principle});
  };
  const auto under = [&](const std::string& id) {
    return id.empty() ? &no_principle() : &constitution.principle(id);
  };
  const auto number = [](const char* kind, std::size_t i) {
    return std::string(kind) + "-" + std::to_string(i + 1);
  };
  for (std::size_t i = 0; i < constitution.critique_examples.size(); ++i) {
    const CritiqueExample& e = constitution.critique_examples[i];
    add(number("critique-exemplar", i), e.prompt, e.revision, e.response, under(e.principle));
  }
  for (std::size_t i = static_cast<std::size_t>(std::max(0L, config.examples));
       i < constitution.label_examples.size(); ++i) {  // those shown would be given away
    const LabelExample& e = constitution.label_examples[i];
    add(number("label-exemplar", i), e.prompt, e.better == "A" ? e.a : e.b, e.better == "A" ? e.b : e.a,
        under(e.principle));
  }
  const std::vector<std::string> declines = decline_openings(constitution);
  for (const Principle& p : constitution.principles) {
    for (std::size_t i = 0; i < p.tests.size(); ++i) {
      const PrincipleTest& test = p.tests[i];
      if (test.must != "refuse" && test.must != "help") continue;
      const std::string refusal = declines[random.derive(p.id).derive(test.prompt).below(declines.size())] +
                                  " it could hurt someone.",
                        help = "Sure, here is what you asked for, step by step.";
      // A principle against harm says nothing for help: "which answer does less to help someone hurt others?"
      // is rightly answered with the refusal.
      const bool refuses = test.must == "refuse";
      add(number(p.id.c_str(), i), test.prompt, refuses ? refusal : help, refuses ? help : refusal,
          refuses ? &p : &no_principle());
    }
  }

  std::vector<ExamItem> decided;
  for (std::size_t i = 0; i < people.size(); ++i)
    for (const Pair& pair : pairs_of(people[i], i, false, random)) {
      if (!pair.human || *pair.human == 0.5) continue;
      const std::string id = pair.record.at("id").get<std::string>();
      const std::vector<const Principle*> fitting = principles_for(constitution, pair.record, false);
      if (!fitting.empty())
        decided.push_back({id, "people", pair.record.at("prompt").get<std::string>(), pair.a, pair.b,
                           *pair.human > 0.5,
                           draw_principle(fitting, random.derive(id).derive("principle"))});
    }
  std::vector<std::size_t> drawn = random.derive("people").permutation(decided.size());
  drawn.resize(std::min(drawn.size(), kPeoplesPairs));
  std::sort(drawn.begin(), drawn.end());
  for (const std::size_t i : drawn)
    items.push_back(std::move(decided[i]));
  return items;
}

Json exam(const LabelConfig& config, const Constitution& constitution, const std::vector<Json>& people,
          const std::vector<Examinee>& examinees, RecordWriter& out, Random random) {
  const std::vector<ExamItem> items = exam_items(config, constitution, people, random);
  const std::vector<Message> exemplars =
      label_exemplars(constitution.label_examples, config.examples, config.chain_of_thought);
  std::vector<Comparison> comparisons;
  for (const ExamItem& item : items)
    comparisons.push_back({&item.prompt, &item.a, &item.b, item.principle, random.derive(item.id)});

  // Few questions, the same answers each time: an exam that was interrupted asks all of them again and writes
  // what is missing.
  const std::size_t there = out.already_written().size();
  if (there > items.size() * examinees.size())
    throw InputError("exam: the folder holds more records than there are questions");
  Json judges = Json::object();
  std::size_t place = 0;
  bool passed = false, below_chance = false;
  for (const Examinee& examinee : examinees) {
    const std::vector<Verdict> verdicts = compare(config, exemplars, comparisons, examinee.judge());
    for (std::size_t i = 0; i < items.size(); ++i, ++place) {
      const ExamItem& item = items[i];
      const Verdict& v = verdicts[i];
      if (place < there) continue;
      out.write(place, {{"id", examinee.name + "/" + item.id},
                        {"judge", examinee.name},
                        {"part", item.part},
                        {"prompt", item.prompt},
                        {"a", item.a},
                        {"b", item.b},
                        {"better", item.is_a_better ? "a" : "b"},
                        {"principle", item.principle->id},
                        {"log_odds", v.log_odds()},
                        {"first_slot", (v.first > 0) + (v.second < 0)},
                        {"right", v.is_usable && (v.log_odds() > 0) == item.is_a_better && v.log_odds() != 0},
                        {"mass", v.mass},
                        {"problem", v.problem}});
    }
    Json mine = Json::object();
    for (const char* part : {"constitution", "people"})
      if (Json figures = part_figures(config, part, items, verdicts); !figures.empty())
        mine[part] = std::move(figures);
    passed = !mine.empty() && std::all_of(mine.begin(), mine.end(),
                                          [](const Json& part) { return part.at("passed").get<bool>(); });
    below_chance = std::any_of(mine.begin(), mine.end(), [](const Json& part) {
      return part.at("accuracy").at("n").get<long>() > 0 &&
             part.at("accuracy").at("high").get<double>() < 0.5;
    });
    judges[examinee.name] = std::move(mine);
  }
  const bool contrast =
      config.method == "contrast" || (config.method == "auto" && !is_named_judge(config) && !passed);
  const std::string sentence = sentence_of(config, judges, examinees.back().name, passed);
  return {{"records", place},
          {"judges", std::move(judges)},
          {"passed", passed},
          {"below_chance", below_chance},
          {"method", contrast ? "contrast" : "choice"},
          {"sentence", sentence}};
}

}  // namespace cai
