#include "cai/stages/infer.hpp"

#include <algorithm>
#include <cstdio>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/preference.hpp"
#include "cai/data/similarity.hpp"
#include "cai/io/interval.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/overlap.hpp"
#include "cai/stages/sentences.hpp"
#include "cai/stages/compare.hpp"
#include "cai/stages/pairs.hpp"

namespace cai {
namespace {

constexpr std::size_t kFewest = 20;
constexpr double kAlike = 0.35;  // proposals nearer than this are one rule in other words
constexpr const char* kOpening = "The answer should";

std::string request(const std::string& prompt, const std::string& chosen, const std::string& rejected) {
  return "Request: " + prompt + "\n\nBetter answer: " + chosen + "\n\nWorse answer: " + rejected +
         "\n\nWhich general rule does the better answer follow and the worse one break? Say it in one short "
         "sentence that fits other requests too.";
}

std::vector<Message> exemplars() {
  return {{"user", request("What is a quick soup?", "Boil stock, add frozen peas and blend it.",
                           "Soups have been eaten for thousands of years in many countries.")},
          {"assistant", "The answer should solve the problem directly instead of talking around it."},
          {"user", request("How can I read my friend's diary?",
                           "That is private, so I won't help. You could ask your friend what is going on.",
                           "Wait until your friend is asleep.")},
          {"assistant", "The answer should protect other people's privacy and offer an honest way."},
          {"user",
           request("Who wrote the song?", "I am not sure which song you mean. Can you give me a line of it?",
                   "It was certainly written by John in 1970.")},
          {"assistant", "The answer should admit what is not known instead of making it up."}};
}

// A proposal as a rule: its first sentence, without the opening, as an instruction; "" when nothing is left
// of it.
std::string rule_of(const std::string& reply) {
  std::string text = trim(first_sentences(reply, 1));
  if (text.starts_with(kOpening)) text = trim(text.substr(std::string(kOpening).size()));
  if (words_of(text).size() < 3 || words_of(text).size() > 40 || is_repeated(text) ||
      text.find('\n') != text.npos)
    return "";
  while (text.ends_with('.'))
    text.pop_back();
  return std::string(kOpening) + " " + text + ".";
}

Principle principle_of(const std::string& text, std::size_t number) {
  Principle p{.id = "inferred-" + std::to_string(number), .text = text};
  p.compare = "Which answer follows this rule better: " + text;
  return with_wordings(p);
}

struct Known {
  Pair pair;
  bool a_chosen = false;
};

// P(right) from verdicts of one principle over pairs.
struct Tested {
  std::vector<double> log_odds;  // towards a, one a pair; 0 where unusable
  ClusteredShare right;
  long n = 0, agree = 0;
};

}  // namespace

Inferred infer(const InferSettings& settings, const LabelConfig& label, const std::vector<Json>& records,
               Speaker& model, Random random, const ProgressFn& progress) {
  std::vector<Known> known;
  for (std::size_t i = 0; i < records.size(); ++i)
    for (Pair& pair : pairs_of(records[i], i, false, random.derive("pairs")))
      if (pair.human && *pair.human != 0.5 && pair.a != pair.b)
        known.push_back({std::move(pair), false}), known.back().a_chosen = *known.back().pair.human > 0.5;
  if (known.size() < kFewest)
    throw InputError("infer: " + std::to_string(known.size()) + " of " + std::to_string(records.size()) +
                     " records have a preference; at least " + std::to_string(kFewest) +
                     " are needed (chosen and rejected, or a, b and human)");
  // Drawn and split by prompt: pairs of one prompt share what decides them.
  std::vector<std::string> prompts;
  std::set<std::string> seen;
  for (const Known& k : known)
    if (seen.insert(k.pair.record.at("prompt").get<std::string>()).second)
      prompts.push_back(k.pair.record.at("prompt").get<std::string>());
  std::map<std::string, std::size_t> place;
  const std::vector<std::size_t> order = random.derive("split").permutation(prompts.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    place[prompts[order[i]]] = i;
  std::stable_sort(known.begin(), known.end(), [&](const Known& x, const Known& y) {
    return place[x.pair.record.at("prompt")] < place[y.pair.record.at("prompt")];
  });
  if (known.size() > static_cast<std::size_t>(settings.most_pairs))
    known.resize(static_cast<std::size_t>(settings.most_pairs));
  const std::size_t used_prompts = place[known.back().pair.record.at("prompt")] + 1;
  std::vector<const Known*> propose, select, report;
  for (const Known& k : known) {
    const std::size_t at = place[k.pair.record.at("prompt")];
    (at * 10 < used_prompts * 4 ? propose : at * 10 < used_prompts * 7 ? select : report).push_back(&k);
  }

  Inferred result{.proposing = static_cast<long>(propose.size()),
                  .selecting = static_cast<long>(select.size()),
                  .reporting = static_cast<long>(report.size())};
  const std::vector<Message> shown = exemplars();
  std::vector<Ask> asks;
  for (const Known* k : propose) {
    Ask ask{.messages = shown,
            .opening = kOpening,
            .max_new_tokens = 40,
            .temperature = 0.5,
            .random = random.derive("propose").derive(record_id(k->pair.record, 0))};
    const Pair& p = k->pair;
    ask.messages.push_back({"user", request(p.record.at("prompt").get<std::string>(), k->a_chosen ? p.a : p.b,
                                            k->a_chosen ? p.b : p.a)});
    asks.push_back(std::move(ask));
  }
  std::vector<std::string> rules(asks.size());
  long done = 0;
  model.say(asks, [&](std::size_t i, Reply reply) {
    rules[i] = rule_of(reply.text);
    if (progress) progress({"propose", ++done, static_cast<long>(asks.size()), 0, ""});
  });
  result.candidates = static_cast<long>(rules.size());
  result.unusable = std::count(rules.begin(), rules.end(), "");
  std::erase(rules, "");
  if (rules.empty())
    throw InputError("infer: the model proposed no rule on " + std::to_string(asks.size()) +
                     " pairs; a larger model is needed");

  // The opening that all share would make all alike.
  std::vector<std::string> bare;
  for (const std::string& rule : rules)
    bare.push_back(rule.substr(std::string(kOpening).size()));
  const std::vector<WordVector> vectors = tf_idf(bare);
  std::vector<std::vector<std::size_t>> groups = cluster(vectors, kAlike);
  if (groups.size() > static_cast<std::size_t>(settings.principles))
    groups.resize(static_cast<std::size_t>(settings.principles));
  std::vector<Principle> proposed;
  for (const auto& group : groups)
    proposed.push_back(principle_of(rules[middle(vectors, group)], proposed.size() + 1));

  const std::vector<Message> judged = label_exemplars({}, 0, false);
  const auto test = [&](const Principle& principle, const std::vector<const Known*>& pairs,
                        const std::string& stage, long number, long of) {
    std::vector<Comparison> comparisons;
    for (const Known* k : pairs)
      comparisons.push_back({&k->pair.record.at("prompt").get_ref<const std::string&>(), &k->pair.a,
                             &k->pair.b, &principle, random.derive("judge")});
    const std::vector<Verdict> verdicts = compare(label, judged, comparisons, model);
    Tested t;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      t.log_odds.push_back(verdicts[i].is_usable ? verdicts[i].log_odds() : 0);
      if (!verdicts[i].is_usable) continue;
      ++t.n;
      t.right.add(pairs[i]->pair.record.at("prompt").get_ref<const std::string&>(),
                  (verdicts[i].log_odds() > 0) == pairs[i]->a_chosen);
      t.agree += (verdicts[i].first > 0) == (verdicts[i].second > 0);
    }
    if (progress) progress({stage, number, of, 0, ""});
    return t;
  };
  std::vector<std::pair<InferredPrinciple, Principle>> tested;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const Tested t =
        test(proposed[g], select, "select", static_cast<long>(g) + 1, static_cast<long>(groups.size()));
    InferredPrinciple p{.text = proposed[g].text,
                        .proposals = static_cast<long>(groups[g].size()),
                        .reconstruction = t.right.interval(),
                        .orders_agree = t.n ? static_cast<double>(t.agree) / static_cast<double>(t.n) : 0};
    p.is_kept = t.n > 0 && p.reconstruction.low > 0.5;
    tested.emplace_back(std::move(p), proposed[g]);
  }
  std::stable_sort(tested.begin(), tested.end(), [](const auto& x, const auto& y) {
    return x.first.reconstruction.value > y.first.reconstruction.value;
  });

  std::vector<double> sum(report.size());
  long kept = 0;
  for (const auto& [p, principle] : tested) {
    result.principles.push_back(p);
    if (!p.is_kept) continue;
    const Tested t = test(principle, report, "report", ++kept, 0);
    for (std::size_t i = 0; i < sum.size(); ++i)
      sum[i] += t.log_odds[i];
  }
  ClusteredShare right, longer;
  for (std::size_t i = 0; i < report.size(); ++i) {
    const std::string& prompt = report[i]->pair.record.at("prompt").get_ref<const std::string&>();
    if (sum[i] != 0) right.add(prompt, (sum[i] > 0) == report[i]->a_chosen);
    const std::size_t a = report[i]->pair.a.size(), b = report[i]->pair.b.size();
    if (a != b) longer.add(prompt, (a > b) == report[i]->a_chosen);
  }
  if (kept > 0) result.together = right.interval();
  result.longer = longer.interval();
  return result;
}

namespace {

std::string percent(const Interval& i) {
  char text[96];
  std::snprintf(text, sizeof text, "%.0f %% of %ld (95 %% interval %.0f to %.0f %%)", 100 * i.value, i.n,
                100 * i.low, 100 * i.high);
  return text;
}

}  // namespace

std::string to_yaml(const Inferred& inferred, const std::string& name) {
  std::string yaml = "# Inferred from preferences; read every line before you use it. Proposed on " +
                     std::to_string(inferred.proposing) + " pairs, chosen on " +
                     std::to_string(inferred.selecting) + ", tested on " +
                     std::to_string(inferred.reporting) + " others.\n";
  if (inferred.together.n > 0)
    yaml += "# Together they reconstruct " + percent(inferred.together) +
            " of those; taking the longer answer: " + percent(inferred.longer) + ".\n";
  yaml += "name: " + Json(name).dump(-1, ' ', false, Json::error_handler_t::replace) +
          "\nversion: 0.1.0\nprinciples:\n";
  std::size_t number = 0;
  for (const InferredPrinciple& p : inferred.principles) {
    if (!p.is_kept) continue;
    yaml += "  - id: inferred-" + std::to_string(++number) +
            "\n    text: " + Json(p.text).dump(-1, ' ', false, Json::error_handler_t::replace) +
            "  # reconstructs " + percent(p.reconstruction) + "; proposed " + std::to_string(p.proposals) +
            " times\n";
  }
  return yaml;
}

Json to_json(const Inferred& inferred) {
  Json principles = Json::array();
  for (const InferredPrinciple& p : inferred.principles)
    principles.push_back({{"text", p.text},
                          {"proposals", p.proposals},
                          {"reconstruction", interval_json(p.reconstruction)},
                          {"orders_agree", p.orders_agree},
                          {"kept", p.is_kept}});
  return {{"principles", principles},
          {"pairs",
           {{"proposing", inferred.proposing},
            {"selecting", inferred.selecting},
            {"reporting", inferred.reporting}}},
          {"proposals", inferred.candidates},
          {"unusable", inferred.unusable},
          {"together", inferred.together.n > 0 ? interval_json(inferred.together) : Json()},
          {"longer", interval_json(inferred.longer)}};
}

}  // namespace cai
