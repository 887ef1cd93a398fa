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
#include "cai/stages/label_check.hpp"
#include "cai/stages/label_choice.hpp"
#include "cai/stages/label_figures.hpp"
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
    std::erase_if(left, [](const Principle* p) { return !p->check.empty(); });  // a program decides these
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
      std::vector<CheckViews> checks;
      for (std::size_t i = from; i < to; ++i)
        checks.push_back(check_views(constitution, pairs[i]));
      if (contrast) {
        std::vector<Scored> scored;
        std::vector<std::string> problems;
        const auto is_scored = [&](std::size_t i) {
          const bool is_open = problems[i - from].empty() && !checks[i - from].decide();
          return is_open && declines_a(pairs[i]) == declines_b(pairs[i]);
        };
        for (std::size_t i = from; i < to; ++i) {
          problems.push_back(contrast_problem(pairs[i]));
          if (is_scored(i))
            for (Scored& one : contrast_scores(constitution, pairs[i]))
              scored.push_back(std::move(one));
        }
        const std::vector<LogProbability> scores = judge.score(scored);
        for (std::size_t i = from, at = 0; i < to; ++i) {
          const std::size_t n = is_scored(i) ? 4 : 0;
          labels.push_back(checks[i - from].decide()
                               ? check_label(checks[i - from], pairs[i])
                               : contrast_label(config, constitution, pairs[i], problems[i - from],
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
          const bool only_checks = n == 0 && !checks[i - from].views.empty();
          labels.push_back(only_checks
                               ? check_label(checks[i - from], pairs[i])
                               : choice_label(config, pairs[i], principles[i - from],
                                              {verdicts.begin() + static_cast<std::ptrdiff_t>(at),
                                               verdicts.begin() + static_cast<std::ptrdiff_t>(at + n)},
                                              checks[i - from]));
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
