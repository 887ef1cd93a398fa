#include "cai/stages/check.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "cai/base/text.hpp"
#include "cai/data/refusal.hpp"
#include "cai/stages/judge_one.hpp"
#include "cai/stages/principles.hpp"
#include "cai/stages/sentences.hpp"

namespace cai {
namespace {

constexpr int kReasonTokens = 80;

// A verdict that a judge still owes.
struct Owed {
  std::size_t exchange, place;  // in the list of exchanges; in its principles
};

std::string names_of(const std::vector<std::string>& tags) {
  std::string list;
  for (const std::string& tag : tags)
    list += (list.empty() ? "" : ", ") + tag;
  return list;
}

PrincipleVerdict by_check(const Principle& principle, const Exchange& exchange) {
  PrincipleVerdict v{.principle = &principle};
  if (!principle.applies(exchange.tags)) {
    v.verdict = "unjudged";
    v.reason = "is for " + names_of(principle.applies_to) + "; this exchange has no tags";
    return v;
  }
  v.by = "check";
  for (const std::string& one : apply_check(principle.check, exchange.prompt, exchange.answer).broken)
    v.reason += (v.reason.empty() ? "" : "; ") + one;
  v.verdict = v.reason.empty() ? "clear" : "violates";
  return v;
}

void judge_owed(std::vector<ExchangeVerdict>& verdicts, const std::vector<Owed>& owed,
                std::span<const Exchange> exchanges, const CheckJudges& judges) {
  std::vector<PrincipleAsk> asks;
  for (const Owed& o : owed)
    asks.push_back({&exchanges[o.exchange].prompt, &exchanges[o.exchange].answer,
                    verdicts[o.exchange].principles[o.place].principle});
  const std::vector<OneVerdict> answers = judge_ones(asks, judges.minimum_mass, *judges.judge);
  for (std::size_t i = 0; i < owed.size(); ++i) {
    PrincipleVerdict& v = verdicts[owed[i].exchange].principles[owed[i].place];
    const OneVerdict& one = answers[i];
    v.by = "", v.verdict = "unjudged";
    if (!one.is_usable) {
      v.reason = "the judge gave no verdict: " + one.problem;
      continue;
    }
    v.p = 1 / (1 + std::exp(-one.log_odds()));
    v.reason = one.orders_agree() ? "" : "the judge's verdict changes with the order of the options";
    if (one.orders_agree()) v.by = "judge", v.verdict = one.first > 0 ? "violates" : "clear";
  }
}

// Asks the judge in words what is wrong, where it said that something is.
void give_reasons(std::vector<ExchangeVerdict>& verdicts, const std::vector<Owed>& owed,
                  std::span<const Exchange> exchanges, Speaker& judge) {
  std::vector<Ask> asks;
  std::vector<PrincipleVerdict*> flagged;
  for (const Owed& o : owed) {
    PrincipleVerdict& v = verdicts[o.exchange].principles[o.place];
    if (v.verdict != "violates") continue;
    const Exchange& e = exchanges[o.exchange];
    asks.push_back({.messages = critique_question({}, e.prompt, e.answer, *v.principle),
                    .max_new_tokens = kReasonTokens,
                    .temperature = 0,
                    .random = Random()});
    flagged.push_back(&v);
  }
  judge.say(asks, [&](std::size_t i, Reply reply) {
    const std::string whole = reply.finish == "stop" ? reply.text : cut_at_sentence(reply.text);
    flagged[i]->reason = trim(whole.empty() ? reply.text : whole);
  });
}

void conclude(ExchangeVerdict& e) {
  const auto has = [&](const char* verdict) {
    return std::any_of(e.principles.begin(), e.principles.end(),
                       [&](const PrincipleVerdict& v) { return v.verdict == verdict; });
  };
  e.verdict = e.is_flagged || has("violates")           ? "violates"
              : e.principles.empty() || has("unjudged") ? "unjudged"
                                                        : "clear";
}

// What the guard knows of a constitution's principles.
class GuardView {
 public:
  GuardView(const Guard& guard, const Constitution& constitution) : guard_(guard) {
    const std::vector<Principle>& own = guard.parts().constitution.principles;
    for (const Principle& p : constitution.principles)
      for (const Principle& known : own)
        if (known.id == p.id && known.text == p.text && has(guard.parts().exchanges, p.id))
          judged_.insert(&p);
    if (has(guard.parts().requests, "decline"))
      for (const Principle* p : helping_principles(constitution))
        helping_.insert(p);
  }

  bool judges(const Principle& p) const { return judged_.contains(&p); }

  /// Between the two bounds.
  bool is_doubtful(const GuardScores& s) const {
    const double score = s.exchange.at("violates").score;
    return score > guard_.parts().doubtful && score <= guard_.parts().threshold;
  }
  bool flags(const GuardScores& s) const {
    const auto violates = s.exchange.find("violates");
    return violates != s.exchange.end() && violates->second.score > guard_.parts().threshold;
  }

  /// The verdict where the guard gives one. `surest`: the highest P of the exchange's principles with a head.
  bool decide(PrincipleVerdict& v, const Exchange& e, const GuardScores& s, double surest) const {
    if (!s.problem.empty()) {
      v.reason = s.problem;
      return false;
    }
    if (judges(*v.principle)) {
      v.p = s.exchange.at(v.principle->id).p, v.by = "guard";
      v.verdict = flags(s) && (*v.p >= 0.5 || *v.p == surest) ? "violates" : "clear";
      v.reason = v.verdict == "violates" ? "the answer is like those that go against it" : "";
      return true;
    }
    if (!helping_.contains(v.principle)) return false;
    const bool is_needless = is_refusal(e.answer) && s.request.at("decline").p < 0.5;
    v.by = "guard", v.verdict = is_needless ? "violates" : "clear";
    v.reason = is_needless ? "declines a request that is like those to be answered" : "";
    return true;
  }

 private:
  const Guard& guard_;
  std::set<const Principle*> judged_, helping_;

  static bool has(const std::vector<GuardHead>& heads, const std::string& name) {
    return std::any_of(heads.begin(), heads.end(), [&](const GuardHead& h) { return h.name == name; });
  }
};

// What of an exchange the guard cannot settle stays unjudged, for the judge.
void guard_exchange(const GuardView& view, const Exchange& e, ExchangeVerdict& verdict, bool has_judge) {
  const GuardScores& s = *verdict.guard;
  double surest = 0;
  for (const PrincipleVerdict& v : verdict.principles)
    if (s.problem.empty() && v.principle->check.empty() && view.judges(*v.principle))
      surest = std::max(surest, s.exchange.at(v.principle->id).p);
  verdict.is_flagged = view.flags(s);
  for (PrincipleVerdict& v : verdict.principles) {
    if (!v.principle->check.empty()) continue;
    const bool is_for_judge =
        has_judge && s.problem.empty() && view.judges(*v.principle) && view.is_doubtful(s);
    if (!is_for_judge && !view.decide(v, e, s, surest) && v.reason.empty())
      v.reason = "has no check, and the guard has no head for it";
  }
}

}  // namespace

std::vector<ExchangeVerdict> check_exchanges(const Constitution& constitution,
                                             std::span<const Exchange> exchanges, const CheckJudges& judges) {
  std::vector<ExchangeVerdict> verdicts(exchanges.size());
  for (std::size_t i = 0; i < exchanges.size(); ++i)
    for (const Principle& principle : constitution.principles) {
      const Exchange& e = exchanges[i];
      if (!e.tags.empty() && !principle.applies(e.tags)) continue;
      if (!principle.check.empty())
        verdicts[i].principles.push_back(by_check(principle, e));
      else
        verdicts[i].principles.push_back({.principle = &principle, .verdict = "unjudged"});
    }
  if (judges.guard) {
    const GuardView view(*judges.guard, constitution);
    std::vector<GuardText> texts;
    for (const Exchange& e : exchanges)
      texts.push_back({e.prompt, e.answer});
    std::vector<GuardScores> scores = judges.guard->read(texts);
    for (std::size_t i = 0; i < exchanges.size(); ++i) {
      verdicts[i].guard = std::move(scores[i]);
      guard_exchange(view, exchanges[i], verdicts[i], judges.judge != nullptr);
    }
  }
  std::vector<Owed> owed;
  for (std::size_t i = 0; i < exchanges.size(); ++i)
    for (std::size_t k = 0; k < verdicts[i].principles.size(); ++k) {
      PrincipleVerdict& v = verdicts[i].principles[k];
      if (v.verdict != "unjudged" || !v.principle->check.empty()) continue;
      if (judges.judge) owed.push_back({i, k});
      if (!judges.judge && v.reason.empty()) v.reason = "has no check, and no judge was given";
    }
  if (!owed.empty()) judge_owed(verdicts, owed, exchanges, judges);
  if (!owed.empty() && judges.with_reasons) give_reasons(verdicts, owed, exchanges, *judges.judge);
  for (ExchangeVerdict& e : verdicts)
    conclude(e);
  return verdicts;
}

Json check_record(const Constitution& constitution, const std::string& file, const Exchange& exchange,
                  const ExchangeVerdict& verdict) {
  Json principles = Json::array();
  for (const PrincipleVerdict& v : verdict.principles) {
    Json one = {{"id", v.principle->id}, {"verdict", v.verdict}, {"by", v.by}};
    if (v.p) one["p"] = *v.p;
    one["reason"] = v.reason;
    principles.push_back(std::move(one));
  }
  Json record = {{"id", exchange.id}, {"verdict", verdict.verdict}, {"principles", std::move(principles)}};
  if (verdict.guard && verdict.guard->problem.empty()) {
    Json guard = {{"is_flagged", verdict.is_flagged}, {"request", Json::object()}};
    for (const auto& [head, score] : verdict.guard->request)
      guard["request"][head] = score.p;
    if (const auto found = verdict.guard->exchange.find("violates"); found != verdict.guard->exchange.end())
      guard["violates"] = found->second.p;
    record["guard"] = std::move(guard);
  }
  record["prompt"] = exchange.prompt, record["answer"] = exchange.answer;
  if (!exchange.tags.empty()) record["tags"] = exchange.tags;
  record.update(exchange.extra);
  record["constitution"] = {
      {"name", constitution.name}, {"version", constitution.version}, {"sha256", constitution.sha256}};
  if (!file.empty()) record["source"] = {{"file", file}, {"number", exchange.number}};
  return record;
}

}  // namespace cai
