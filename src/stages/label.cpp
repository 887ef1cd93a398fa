#include "cai/stages/label.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/statistics.hpp"
#include "cai/base/text.hpp"
#include "cai/io/interval.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/clean.hpp"
#include "cai/stages/compare.hpp"
#include "cai/stages/label_choice.hpp"
#include "cai/stages/pairs.hpp"
#include "cai/stages/principles.hpp"
#include "cai/data/refusal.hpp"

namespace cai {
namespace {

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

std::string number(double x, const char* format = "%.2f") {
  char text[48];
  std::snprintf(text, sizeof text, format, x);
  return text;
}

// ---- contrast ----

// Nats per token in which the wanted instruction fits its own side better than the other, over the opposite
// instruction; a log-odds of 0 is even. Divided by the usual spread between pairs, it softens the label.
constexpr double kContrastScale = 0.5;

// P(the wanted side is better) where one side declines, the other does not, and the request says which is
// right: known by the way the pair was made, but for slips of the prompts' tags and of the answers.
constexpr double kKnown = 0.9, kKnownOther = 0.1;

std::vector<Scored> contrast_scores(const Constitution& constitution, const Pair& pair) {
  const bool decline = should_decline(pair.record);
  const Contrast words = contrast_of(constitution, constitution.principle(pair.principle), decline);
  std::vector<Scored> scored;
  for (const std::string* answer : {&pair.a, &pair.b}) {
    for (const std::string* instruction : {&words.wanted, &words.opposite}) {
      Scored one{.answer = *answer, .with_stop = false};
      if (!instruction->empty()) one.messages.push_back({"system", *instruction});
      one.messages.push_back({"user", pair.record.at("prompt").get<std::string>()});
      scored.push_back(std::move(one));
    }
  }
  return scored;
}

// Why a contrastive pair is not one after all, or "".
std::string contrast_problem(const Pair& pair) {
  if (pair.wanted.empty() || pair.principle.empty()) return "no sides";
  const std::string in_a = answer_problem(pair.a, pair.finish_a),
                    in_b = answer_problem(pair.b, pair.finish_b);
  if (!in_a.empty() || !in_b.empty()) return in_a.empty() ? in_b : in_a;
  if (pair.a == pair.b) return "copy";
  const bool decline = should_decline(pair.record);
  const bool a_refuses = declines_a(pair), b_refuses = declines_b(pair);
  if (a_refuses && b_refuses) return "both refuse";
  if (!a_refuses && !b_refuses) return decline ? "neither refuses" : "";
  return (pair.wanted == "a" ? a_refuses : b_refuses) == decline ? "" : "sides reversed";
}

Json contrast_label(const LabelConfig& config, const Constitution& constitution, const Pair& pair,
                    const std::string& problem, std::span<const LogProbability> scores) {
  Json record = pair.record;
  record["a"] = pair.a, record["b"] = pair.b;
  double nats = 0, p = 0.5;
  const bool is_scored =
      scores.size() == 4 &&
      std::all_of(scores.begin(), scores.end(), [](const LogProbability& s) { return s.tokens > 0; });
  const bool is_known = declines_a(pair) != declines_b(pair);
  if (problem.empty() && is_known) p = pair.wanted == "a" ? kKnown : kKnownOther;
  if (problem.empty() && !is_known) {
    const auto per_token = [&](std::size_t k) { return scores[k].sum / scores[k].tokens; };
    if (is_scored) nats = (per_token(0) - per_token(1)) - (per_token(2) - per_token(3));  // towards a
    const double towards_wanted = pair.wanted == "a" ? nats : -nats;
    const double confident = std::clamp(sigmoid(towards_wanted / kContrastScale),
                                        std::max(0.55, 0.5 + config.minimum_margin), 0.95);
    p = pair.wanted == "a" ? confident : 1 - confident;
  }
  record["p"] = std::round(p * 1e12) / 1e12;  // 0.1, not 0.09999999999999998
  // Where one side declines and the other does not, the kind of the request decided, whatever principle the
  // sides were written under.
  const bool by_principle = problem.empty() && !is_known;
  record["log_odds"] = by_principle ? Json{{pair.principle, std::log(p / (1 - p))}} : Json::object();
  record["contrast_nats"] = nats;
  record["orders_agree"] = true;  // no order is asked
  record["tie"] = !problem.empty();
  record["method"] = "contrast";
  record["problem"] = problem;
  record["principle"] = by_principle ? pair.principle : "";
  record["written_under"] = pair.principle;
  record["decided_by"] = !problem.empty() ? "" : is_known ? "kind" : "principle";
  if (problem.empty()) {
    const std::string better = pair.wanted == "a" ? "A" : "B", other = pair.wanted == "a" ? "B" : "A";
    if (is_known && (pair.wanted == "a" ? declines_a(pair) : declines_b(pair)))
      record["reason"] = "By the kind of the request: answer " + better +
                         " declines a harmful request, answer " + other + " does not.";
    else if (is_known)
      record["reason"] = "By the kind of the request: answer " + better +
                         " answers a harmless request, answer " + other + " declines it.";
    else
      record["reason"] =
          "Answer " + better + " was asked for under \"" + pair.principle + "\" (" +
          constitution.principle(pair.principle).text + ") and answer " + other +
          " under its opposite; the two instructions tell them apart by " + number(std::abs(nats)) +
          " nats a token" +
          ((nats > 0) == (pair.wanted == "a") ? "." : ", in the wrong direction, so the label is weak.");
  } else {
    record["reason"] = "No label: " + problem + ".";
  }
  record["first"] = pair.is_swapped ? "b" : "a";
  if (pair.human) record["human"] = *pair.human;
  return record;
}

Json or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

Json label_figures(const std::vector<Json>& records, bool contrast) {
  std::map<std::string, long> decisions, problems, kinds;
  long ties = 0, judged = 0, known = 0, wrong_way = 0, unusable = 0, sampled = 0;
  ClusteredShare agree, first_slot, right;  // pairs of one prompt are right or wrong together
  std::vector<double> predicted, outcome;
  std::vector<double> won, won_known,
      won_human;  // the input's first answer, by the judge without and with a person's word, and by that
  std::map<std::string, std::pair<std::vector<int>, std::vector<int>>>
      by_principle;                            // a better: by the principle, by people
  std::map<std::string, ClusteredShare> same;  // agreement by principle
  ClusteredDifference first_wins;
  std::vector<int> by_judge, by_people;
  double margin = 0, length_difference = 0;
  for (const Json& r : records) {
    const std::string problem = optional_text(r, "problem");
    ++problems[problem];
    ties += problem.empty() && optional_flag(r, "tie");
    unusable += static_cast<long>(optional_number(r, "unusable"));
    sampled += optional_number(r, "samples") > 0;
    if (!problem.empty()) continue;
    const double p = r.at("p").get<double>();
    ++judged;
    const std::string kind = kind_of(r);
    ++kinds[kind.empty() ? "untagged" : kind];
    const std::string prompt = optional_text(r, "prompt");
    agree.add(prompt, optional_flag(r, "orders_agree"));
    for (long k = 0; k < static_cast<long>(optional_number(r, "asked")); ++k)
      first_slot.add(prompt, k < static_cast<long>(optional_number(r, "first_slot")));
    margin += std::abs(p - 0.5);
    const double longer = static_cast<double>(words_of(optional_text(r, "a")).size()) -
                          static_cast<double>(words_of(optional_text(r, "b")).size());
    length_difference += p > 0.5 ? longer : -longer;
    ++decisions[optional_text(r, "decided_by") == "kind" ? "the kind of the request"
                                                         : optional_text(r, "principle")];
    if (contrast && optional_number(r, "contrast_nats") != 0)
      wrong_way += (optional_number(r, "contrast_nats") > 0) != (p > 0.5);
    const bool is_first_a = optional_text(r, "first") != "b";
    const double first_answer = p == 0.5 ? 0.5 : (p > 0.5) == is_first_a ? 1 : 0;
    const bool has_human = r.contains("human") && r["human"].is_number();
    (has_human ? won_known : won).push_back(first_answer);
    first_wins.add(prompt, first_answer == 1, first_answer == 0);
    if (has_human) won_human.push_back(is_first_a ? r["human"].get<double>() : 1 - r["human"].get<double>());
    if (const auto human = r.find("human");
        human != r.end() && human->is_number() && human->get<double>() != 0.5) {
      const double h = human->get<double>();
      ++known;
      right.add(prompt, (p > 0.5) == (h > 0.5) && p != 0.5);
      predicted.push_back(p), outcome.push_back(h);
      by_judge.push_back(p > 0.5), by_people.push_back(h > 0.5);
      for (const auto& [id, odds] : r.at("log_odds").items()) {
        auto& [mine, theirs] = by_principle[id];
        mine.push_back(odds.get<double>() > 0), theirs.push_back(h > 0.5);
        same[id].add(prompt, mine.back() == theirs.back());
      }
    }
  }
  const double n = std::max<double>(1, static_cast<double>(judged));
  Json figures = {{"records", records.size()},
                  {"judged", judged},
                  {"ties", ties},
                  {"problems", problems},
                  {"kinds", kinds},
                  {"method", contrast ? "contrast" : "choice"},
                  {"mean_margin", margin / n},
                  {"decisions", decisions},
                  {"words_longer_preferred", length_difference / n}};
  if (contrast) figures["against_direction"] = static_cast<double>(wrong_way) / n;
  if (!contrast) {
    figures["order_consistency"] = interval_json(agree.interval());
    figures["first_slot"] = interval_json(first_slot.interval());
    figures["mean_mass"] = mean_of(records, "mass");  // P(A) + P(B) of each pair
    figures["unusable_verdicts"] = unusable;
    figures["from_samples"] = sampled;
  }
  if (known > 0) {
    figures["agreement"] = interval_json(right.interval());
    figures["calibration_error"] = calibration_error(predicted, outcome);
  }
  if (known > 0) {
    figures["kappa"] = or_null(kappa(by_judge, by_people));
    for (const auto& [id, both] : by_principle) {
      figures["agreement_by_principle"][id] = {{"agreement", interval_json(same[id].interval())},
                                               {"kappa", or_null(kappa(both.first, both.second))}};
    }
  }
  if (!contrast) {
    figures["first_answer_wins"] = {{"judge", interval_json(as_win_rate(first_wins.interval()))}};
    if (won_human.size() > 1 && !won.empty()) {
      figures["first_answer_wins"]["people"] = interval_json(bootstrap_mean(won_human, 2000, 1));
      figures["first_answer_wins"]["corrected"] =
          interval_json(prediction_powered_mean(won_human, won_known, won));
    }
  }
  return figures;
}

}  // namespace

Json label(const LabelConfig& config, const Constitution& constitution, bool contrast,
           const std::vector<Json>& records, const People& people, RecordWriter& out, Speaker& judge,
           Random random, const ProgressFn& progress) {
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < records.size(); ++i)
    for (Pair& pair : pairs_of(records[i], i, contrast, random)) {
      if (const auto human =
              people.on(pair.record.at("prompt").get_ref<const std::string&>(), pair.a, pair.b))
        pair.human = human;
      pairs.push_back(std::move(pair));
    }
  if (contrast)
    for (const Pair& pair : pairs)
      if (!pair.principle.empty() &&
          std::none_of(constitution.principles.begin(), constitution.principles.end(),
                       [&](const Principle& p) { return p.id == pair.principle; }))
        throw InputError("record " + in_quotes(pair.record.at("id").get<std::string>()) +
                         ": the constitution has no principle " + in_quotes(pair.principle));

  std::vector<Json> labels = out.already_written();
  if (labels.size() > pairs.size()) throw InputError("label: the folder holds more records than the input");
  const std::vector<Message> exemplars =
      label_exemplars(constitution.label_examples, config.examples, config.chain_of_thought);
  const auto draw_principles = [&](const Pair& pair) {
    std::vector<const Principle*> left = principles_for(constitution, pair.record, false), drawn;
    for (long k = 0; k < config.principles && !left.empty(); ++k) {
      const Principle* one = draw_principle(left, random.derive(pair.record.at("id").get<std::string>())
                                                      .derive("principle")
                                                      .derive(static_cast<std::uint64_t>(k)));
      drawn.push_back(one);
      left.erase(std::find(left.begin(), left.end(), one));
    }
    return drawn;
  };

  // Pairs between two durable points. A judge that keeps its own answers is given many, so that it never
  // waits for the last of a few.
  const std::size_t window = judge.keeps_answers() ? 2048 : 64;
  const Usage before = judge.usage();
  const auto report = [&](std::size_t done) {
    const Usage now = judge.usage();
    if (progress)
      progress({"label", static_cast<long>(done), static_cast<long>(pairs.size()),
                now.prompt_tokens + now.tokens - before.prompt_tokens - before.tokens, ""});
  };
  try {
    while (labels.size() < pairs.size()) {
      const std::size_t from = labels.size(), to = std::min(pairs.size(), from + window);
      if (contrast) {
        std::vector<Scored> scored;
        std::vector<std::string> problems;
        for (std::size_t i = from; i < to; ++i) {
          problems.push_back(contrast_problem(pairs[i]));
          if (problems.back().empty() && declines_a(pairs[i]) == declines_b(pairs[i]))
            for (Scored& one : contrast_scores(constitution, pairs[i]))
              scored.push_back(std::move(one));
        }
        const std::vector<LogProbability> scores = judge.score(scored);
        for (std::size_t i = from, at = 0; i < to; ++i) {
          const std::size_t n =
              problems[i - from].empty() && declines_a(pairs[i]) == declines_b(pairs[i]) ? 4 : 0;
          labels.push_back(contrast_label(config, constitution, pairs[i], problems[i - from],
                                          std::span(scores).subspan(at, n)));
          at += n;
        }
      } else {
        std::vector<Comparison> comparisons;
        std::vector<std::vector<const Principle*>> principles;
        for (std::size_t i = from; i < to; ++i) {
          principles.push_back(draw_principles(pairs[i]));
          for (const Principle* p : principles.back())
            comparisons.push_back({&pairs[i].record.at("prompt").get_ref<const std::string&>(), &pairs[i].a,
                                   &pairs[i].b, p,
                                   random.derive(pairs[i].record.at("id").get<std::string>())});
        }
        std::size_t answered = 0;
        const std::vector<Verdict> verdicts = compare(config, exemplars, comparisons, judge, [&] {
          ++answered;
          if (judge.keeps_answers()) report(from + (to - from) * answered / (2 * comparisons.size()));
        });
        for (std::size_t i = from, at = 0; i < to; ++i) {
          const std::size_t n = principles[i - from].size();
          labels.push_back(choice_label(config, pairs[i], principles[i - from],
                                        {verdicts.begin() + static_cast<std::ptrdiff_t>(at),
                                         verdicts.begin() + static_cast<std::ptrdiff_t>(at + n)}));
          at += n;
        }
      }
      for (std::size_t i = from; i < to; ++i)
        out.write(i, labels[i]);
      if (to == pairs.size()) out.flush();
      report(out.durable());
    }
  } catch (...) {
    out.flush();
    throw;
  }
  out.flush();
  Json figures = label_figures(labels, contrast);
  if (contrast) {
    long plain = 0, paired = 0;
    for (const Json& record : records)
      if (const auto list = record.find("candidates"); list != record.end())
        for (const Json& one : *list)
          plain += optional_text(one, "side") == "plain";
    for (const Pair& pair : pairs)
      paired += pair.record.at("id").get_ref<const std::string&>().find("/plain-") != std::string::npos;
    figures["plain_answers"] = {{"compared", paired}, {"without_counterpart", plain - paired}};
  }
  if (figures["judged"] == 0 && !pairs.empty())
    log_warning("label: none of " + std::to_string(pairs.size()) +
                " pairs could be judged: " + figures["problems"].dump());
  return figures;
}

}  // namespace cai
