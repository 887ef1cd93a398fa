#include "cai/stages/suites.hpp"

#include <algorithm>
#include <set>

#include "cai/data/tags.hpp"
#include "cai/stages/asking.hpp"

namespace cai {
namespace {

constexpr const char* kAnswerOpening =
    "The answer is";  // without it a model that talks gives no option a chance

std::vector<std::string> attack_names(const Suites& suites) {
  std::vector<std::string> names;
  for (const Attack& a : suites.attacks)
    if (std::find(names.begin(), names.end(), a.name) == names.end()) names.push_back(a.name);
  return names;
}

std::vector<const EvalItem*> of_kind(const std::vector<EvalItem>& plain, const char* kind) {
  std::vector<const EvalItem*> found;
  for (const EvalItem& item : plain)
    if (kind_of(item.record) == kind && !item.record.contains("must")) found.push_back(&item);
  return found;
}

struct Items {
  std::vector<EvalItem> items;
  std::set<std::string> ids;

  // An item on a plain prompt; `name` (of the attack or framing) makes its id.
  EvalItem& add(const EvalItem& plain, const char* suite, const std::string& name) {
    const std::string prompt_id = record_id(plain.record, 0);
    std::string id = prompt_id + "/" + name;
    while (!ids.insert(id).second)
      id += "'";
    Json record = {
        {"id", id}, {"prompt_id", prompt_id}, {"prompt", plain.record.at("prompt")}, {"suite", suite}};
    if (plain.record.contains("tags")) record["tags"] = plain.record["tags"];
    items.push_back({std::move(record), plain.messages, plain.topic});
    return items.back();
  }
};

void add_attacks(Items& to, const EvalConfig& config, const Suites& suites,
                 const std::vector<EvalItem>& plain, const Random& random) {
  const std::vector<const EvalItem*> requests = of_kind(plain, "red-team");
  for (const std::string& name : attack_names(suites)) {
    long asked = 0;
    for (const EvalItem* request : requests) {
      if (asked == config.suite_prompts) break;
      const std::string id = record_id(request->record, 0);
      std::vector<const Attack*> wordings;
      for (const Attack& a : suites.attacks)
        if (a.name == name && (a.prompt_id.empty() || a.prompt_id == id)) wordings.push_back(&a);
      if (wordings.empty()) continue;
      ++asked;
      const Attack& attack = *wordings[random.derive(name).derive(id).below(wordings.size())];
      const std::string text = optional_text(request->record, "prompt"), said = attacked(attack, text);
      EvalItem& item = to.add(*request, "adversarial", name);
      item.record["attack"] = name;
      item.record["request"] = text;
      item.record["prompt"] = said;
      item.messages.clear();
      for (const auto& [question, answer] : attack.turns)
        item.messages.push_back({"user", question}), item.messages.push_back({"assistant", answer});
      item.messages.push_back({"user", said});
      if (!attack.prompt_id.empty())
        item.topic += "\n" + said;  // an answer may use the words of the translation
    }
  }
}

void add_framings(Items& to, const EvalConfig& config, const Suites& suites,
                  const std::vector<EvalItem>& plain, const Random& random) {
  if (suites.framings.empty()) return;
  for (const char* kind : {"red-team", "borderline"}) {
    long asked = 0;
    for (const EvalItem* prompt : of_kind(plain, kind)) {
      if (asked++ == config.suite_prompts) break;
      for (const bool supervised : {true, false}) {
        std::vector<const Framing*> wordings;
        for (const Framing& f : suites.framings)
          if (f.supervised == supervised) wordings.push_back(&f);
        const std::string name = supervised ? "supervised" : "unsupervised";
        const Framing& framing =
            *wordings[random.derive(name).derive(record_id(prompt->record, 0)).below(wordings.size())];
        EvalItem& item = to.add(*prompt, "framing", name);
        item.record["framing"] = name;
        item.record["system"] = framing.system;
        item.messages = {{"system", framing.system}, {"user", optional_text(prompt->record, "prompt")}};
      }
    }
  }
}

}  // namespace

std::vector<EvalItem> suite_items(const EvalConfig& config, const Suites& suites,
                                  const std::vector<EvalItem>& plain, Random random) {
  Items to;
  for (const EvalItem& item : plain)
    to.ids.insert(record_id(item.record, 0));
  random = random.derive("suites");
  add_attacks(to, config, suites, plain, random);
  add_framings(to, config, suites, plain, random);
  for (std::size_t i = 0; i < suites.texts.size(); ++i)
    to.items.push_back(
        {{{"id", "text:" + std::to_string(i + 1)}, {"suite", "capability"}, {"text", suites.texts[i]}},
         {},
         ""});
  for (std::size_t i = 0; i < suites.questions.size(); ++i) {
    const TestQuestion& q = suites.questions[i];
    to.items.push_back({{{"id", "question:" + std::to_string(i + 1)},
                         {"suite", "capability"},
                         {"question", q.question},
                         {"options", q.options},
                         {"answer", q.answer}},
                        {},
                        ""});
  }
  return std::move(to.items);
}

void score_items(Speaker& model, const std::string& name, std::span<const EvalItem> items,
                 const std::function<void(std::size_t, Json)>& done) {
  std::vector<Scored> scored;  // of all items, the options of a question one after the other: one call reads
                               // them in full passes
  for (const EvalItem& item : items) {
    if (const std::string text = optional_text(item.record, "text"); !text.empty()) {
      scored.push_back({.answer = text, .with_stop = false});
      continue;
    }
    for (const Json& option : item.record.at("options"))
      scored.push_back({.messages = {{"user", optional_text(item.record, "question")}},
                        .opening = kAnswerOpening,
                        .answer = " " + option.get<std::string>(),
                        .with_stop = false});
  }
  const std::vector<LogProbability> scores = model.score(scored);
  for (std::size_t i = 0, next = 0; i < items.size(); ++i) {
    Json record = items[i].record;
    record["model"] = name;
    const bool is_text = !optional_text(record, "text").empty();
    const std::size_t count = is_text ? 1 : record.at("options").size();
    std::vector<double> means;
    for (std::size_t k = 0; k < count; ++k, ++next)
      if (scores[next].tokens > 0) means.push_back(scores[next].sum / scores[next].tokens);
    if (means.size() == count && is_text) {
      record["log_probability"] = means.front();
    } else if (means.size() == count) {
      record["log_probabilities"] = means;
      record["chosen"] =
          record["options"]
                [static_cast<std::size_t>(std::max_element(means.begin(), means.end()) - means.begin())];
      record["right"] = record["chosen"] == record["answer"];
    }
    done(i, std::move(record));
  }
}

std::vector<std::string> suite_measures(const Suites& suites) {
  std::vector<std::string> names;
  for (const std::string& name : attack_names(suites))
    names.push_back("attack_success_" + name);
  if (!names.empty()) names.push_back("attack_success_adversarial");
  if (!suites.framings.empty())
    for (const char* measure : {"attack_success", "over_refusal"})
      for (const char* of : {"supervised", "unsupervised", "gap"})
        names.push_back(std::string(measure) + "_" + of);
  if (!suites.texts.empty() || !suites.questions.empty())
    names.insert(names.end(), {"text_log_probability", "perplexity", "question_accuracy"});
  return names;
}

std::string topic_of(const Json& record) {
  return topic_of_tags(tags_of(record));
}

}  // namespace cai
