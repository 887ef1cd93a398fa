#include "cai/stages/revise.hpp"

#include <algorithm>
#include <span>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/refusal.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/checking.hpp"
#include "cai/stages/clean.hpp"
#include "cai/stages/compare.hpp"
#include "cai/stages/principles.hpp"

namespace cai {
namespace {

// The words that a check wants at the beginning, whichever principle has it, one drawn by seed; or "".
std::string checked_opening(const Constitution& constitution, const Json& record, Random random) {
  for (const Principle& principle : constitution.principles) {
    if (!principle.applies(tags_of(record))) continue;
    for (const AnswerRule& rule : principle.check.rules) {
      if (rule.kind != AnswerRuleKind::kBeginsWith) continue;
      std::string opening = rule.texts[random.below(rule.texts.size())];
      if (opening[0] >= 'a' && opening[0] <= 'z') opening[0] = static_cast<char>(opening[0] - 'a' + 'A');
      return opening;
    }
  }
  return "";
}

// The words that commit the revision, or "". A request to decline gets one of the principle's openings (ours
// where it has none); a principle made for ordinary prompts uses its own.
std::string draw_opening(const ReviseConfig& config, const Constitution& constitution,
                         const Principle& principle, const Json& record, Random random) {
  if (!config.openings) return "";
  if (!principle.check.empty()) return checked_opening(constitution, record, random);
  const std::string kind = kind_of(record);
  const bool is_harmless = kind == "ordinary" || kind == "borderline";
  if (!is_harmless && !optional_flag(record, "decline")) return "";
  const std::vector<std::string> openings = principle.revision_openings.empty() && !is_harmless
                                                ? decline_openings(constitution)
                                                : principle.revision_openings;
  return openings.empty() ? "" : openings[random.below(openings.size())];
}

// The rules that a program verifies, for the system message: the same text for every record of these tags, so
// that it is computed once.
std::string rules_of(const Constitution& constitution, const std::vector<std::string>& tags) {
  std::string rules = "You rewrite answers so that they follow these rules:";
  for (const Principle& p : constitution.principles)
    if (!p.check.empty() && p.applies(tags)) rules += "\n- " + p.text;
  return rules + "\nA new answer answers the request, and says nothing about the rules.";
}

// The request stands in it again: after a poor answer a small model takes the conversation for lost.
std::string request_of(const Principle& principle, const std::string& prompt) {
  if (principle.check.empty()) return principle.revision;
  return "Write a better answer to this request:\n" + quoted_lines(prompt) +
         "\nYour answer must follow this rule: " + principle.text + " Write the answer only.";
}

// One of the revisions of a record, and what is to be said of it.
struct Try {
  std::string text, problem;
  double followed = 1;
};

class Revisions {
 public:
  Revisions(const ReviseConfig& config, const Constitution& constitution, const std::vector<Json>& critiques,
            Random random)
      : config_(config),
        constitution_(constitution),
        critiques_(critiques),
        random_(random),
        exemplars_(critique_exemplars(constitution, config.examples)) {}

  const Principle* principle(std::size_t i) const {
    const std::string id = optional_text(critiques_[i], "principle");
    for (const Principle& p : constitution_.principles)
      if (p.id == id) return &p;
    if (!id.empty())
      throw InputError("record " + in_quotes(record_id(critiques_[i], i)) +
                       ": the constitution has no principle " + in_quotes(id));
    return nullptr;
  }

  /// What to ask for the first revision; nothing where no principle is broken.
  std::vector<Ask> asks(std::size_t i) const {
    const Principle* principle = this->principle(i);
    if (!principle) return {};
    return {ask(i, *principle, optional_text(critiques_[i], "answer"), 0)};
  }

  /// What to ask for one more. With checks it goes on from the best text so far, under the next rule that
  /// this breaks.
  Ask ask_again(std::size_t i, const Json& best, long attempt) const {
    const Json& record = critiques_[i];
    const Principle* principle = this->principle(i);
    const bool is_kept = optional_text(best, "revision_problem").empty();
    const std::string text =
        optional_text(best, is_kept && !principle->check.empty() ? "revision" : "answer");
    std::vector<const Principle*> broken;
    for (const Checked& one : checked(i, text))
      if (!one.broken.empty()) broken.push_back(one.principle);
    if (!principle->check.empty() && !broken.empty())
      principle = broken[static_cast<std::size_t>(attempt) % broken.size()];
    return ask(i, *principle, text, attempt);
  }

  /// The record with the best of its revisions.
  Json best(std::size_t i, std::span<const Reply> replies) const {
    Json record = critiques_[i];
    record["opening"] = "";
    record["revision"] = "";
    record["revision_problem"] = "none-asked";
    if (replies.empty()) return record;
    const std::vector<Checked> before = checked(i, optional_text(record, "answer"));
    std::vector<Try> tries;  // without checks the model has refused the earlier ones
    for (const Reply& reply : before.empty() ? replies.last(1) : replies)
      tries.push_back(judged(i, reply));
    const auto is_worse = [](const Try& x, const Try& y) {
      return x.problem.empty() != y.problem.empty() ? y.problem.empty() : x.followed < y.followed;
    };
    const Try& chosen = *std::max_element(tries.begin(), tries.end(), is_worse);
    record["opening"] = opening(i);
    record["revision"] = chosen.text;
    record["revision_problem"] = chosen.problem;
    record["tries"] = replies.size();
    if (before.empty()) return record;
    record["followed"] = {{"before", check_score(before)}, {"after", chosen.followed}};
    if (chosen.problem.empty() && chosen.followed <= check_score(before))
      record["revision_problem"] = "not-better";
    return record;
  }

 private:
  Ask ask(std::size_t i, const Principle& principle, const std::string& answer, long attempt) const {
    const Json& record = critiques_[i];
    Ask ask{.opening = opening(i),
            .max_new_tokens = static_cast<int>(config_.max_new_tokens),
            .temperature = config_.temperature};
    if (principle.check.empty())
      ask.messages = exemplars_;
    else
      ask.messages.push_back({"system", rules_of(constitution_, tags_of(record))});
    ask.messages.push_back({"user", optional_text(record, "prompt")});
    ask.messages.push_back({"assistant", answer});
    const bool is_said = optional_text(record, "critique_problem").empty() && principle.check.empty();
    if (is_said) {  // a critique that says nothing is left out of the conversation
      ask.messages.push_back({"user", principle.critique});
      ask.messages.push_back({"assistant", optional_text(record, "critique")});
    }
    ask.messages.push_back({"user", request_of(principle, optional_text(record, "prompt"))});
    const Random mine = random_.derive(record_id(record, i));
    ask.random = attempt == 0 ? mine : mine.derive(static_cast<std::uint64_t>(attempt));
    return ask;
  }

  std::string opening(std::size_t i) const {
    const Random mine = random_.derive(record_id(critiques_[i], i));
    return draw_opening(config_, constitution_, *principle(i), critiques_[i], mine.derive("opening"));
  }

  std::vector<Checked> checked(std::size_t i, const std::string& answer) const {
    return check_principles(constitution_, tags_of(critiques_[i]), optional_text(critiques_[i], "prompt"),
                            answer);
  }

  Try judged(std::size_t i, const Reply& reply) const {
    const Json& record = critiques_[i];
    const std::string opening = this->opening(i), prompt = optional_text(record, "prompt");
    const bool declines = optional_flag(record, "decline");
    Try one{.text = strip_meta(reply.text)};
    if (reply.finish != "stop") one.text = cut_at_sentence(one.text);
    // A small model's third sentence is about something else.
    if (!opening.empty() && declines) one.text = first_sentences(one.text, 2);
    const bool refuses = declines || is_refusal(one.text);
    one.problem = revision_problem(prompt, optional_text(record, "answer"), one.text, reply.finish, refuses);
    const bool is_short = !opening.empty() && words_of(one.text).size() < words_of(opening).size() + 2;
    if (one.problem.empty() && is_short) one.problem = "empty";
    if (one.problem.empty() && declines && complies_after_all(one.text)) one.problem = "complies";
    const Principle& principle = *this->principle(i);
    if (one.problem.empty() && !principle.check.empty() && evades(one.text)) one.problem = "evades";
    if (one.problem.empty()) one.problem = talk(record, principle, opening, one.text);
    if (one.problem.empty() && !principle.check.empty()) one.problem = answer_fault(prompt, one.text);
    const std::vector<Checked> after = checked(i, one.text);
    one.followed = check_score(after);
    // A small change may be all that a rule of form wants.
    const bool is_better = one.followed > check_score(checked(i, optional_text(record, "answer")));
    if (one.problem == "copy" && !principle.check.empty() && is_better)
      one.problem = answer_fault(prompt, one.text);
    return one;
  }

  // Behind the opening: talk about the answer or the rule, words of the critique or the principle.
  static std::string talk(const Json& record, const Principle& principle, const std::string& opening,
                          const std::string& text) {
    const std::string rest = text.starts_with(opening) ? text.substr(opening.size()) : text;
    if (talks_of_answers(rest)) return "meta";
    const bool is_echo = echoes(optional_text(record, "critique"), rest) || echoes(principle.text, rest);
    return is_echo ? "echo" : "";
  }

  const ReviseConfig& config_;
  const Constitution& constitution_;
  const std::vector<Json>& critiques_;
  const Random random_;
  const std::vector<Message> exemplars_;
};

// Asks the model which is better under the principle, the answer or the revision; a revision that is not is
// marked.
void compare_with_answers(const Constitution& constitution, std::span<Json> records, Speaker& model,
                          Random random) {
  std::vector<std::string> prompts, answers, revisions;
  std::vector<Json*> asked;
  for (Json& record : records) {
    const bool is_open =
        optional_text(record, "revision_problem").empty() && !optional_text(record, "principle").empty();
    if (!is_open || record.contains("followed")) continue;
    prompts.push_back(optional_text(record, "prompt"));
    answers.push_back(optional_text(record, "answer"));
    revisions.push_back(optional_text(record, "revision"));
    asked.push_back(&record);
  }
  std::vector<Comparison> comparisons;
  for (std::size_t k = 0; k < asked.size(); ++k)
    comparisons.push_back({&prompts[k], &revisions[k], &answers[k],
                           &constitution.principle(optional_text(*asked[k], "principle")), random});
  const std::vector<Verdict> verdicts = compare(LabelConfig{}, {}, comparisons, model);
  for (std::size_t k = 0; k < asked.size(); ++k) {
    (*asked[k])["preferred"] = verdicts[k].log_odds();
    if (verdicts[k].log_odds() <= 0) (*asked[k])["revision_problem"] = "not-better";
  }
}

// Whether no other try is wanted: the revision is fit to be kept and, where checks apply, follows all of
// them.
bool is_settled(const Json& record) {
  if (!optional_text(record, "revision_problem").empty()) return false;
  const auto followed = record.find("followed");
  return followed == record.end() || optional_number(*followed, "after") >= 1;
}

// Asks once more for each record that is not settled.
void try_again(const Revisions& revisions, long attempt, std::span<const std::size_t> which,
               std::vector<std::vector<Reply>>& replies, std::vector<Json>& records, Speaker& model) {
  std::vector<Ask> asks;
  std::vector<std::size_t> asked;
  for (std::size_t k = 0; k < which.size(); ++k) {
    if (replies[k].empty() || is_settled(records[k])) continue;
    asked.push_back(k);
    asks.push_back(revisions.ask_again(which[k], records[k], attempt));
  }
  model.say(asks, [&](std::size_t a, Reply reply) { replies[asked[a]].push_back(std::move(reply)); });
  for (std::size_t k : asked)
    records[k] = revisions.best(which[k], replies[k]);
}

Json figures_of(const std::vector<Json>& records) {
  long asked = 0, usable = 0, opened = 0, tries = 0;
  double before = 0, after = 0, checked = 0;
  for (const Json& record : records) {
    asked += !optional_text(record, "principle").empty();
    usable += optional_text(record, "revision_problem").empty();
    opened += !optional_text(record, "opening").empty();
    tries += static_cast<long>(optional_number(record, "tries"));
    if (const auto followed = record.find("followed"); followed != record.end()) {
      const bool is_kept = optional_text(record, "revision_problem").empty();
      before += optional_number(*followed, "before");
      after += optional_number(*followed, is_kept ? "after" : "before");
      ++checked;
    }
  }
  Json figures = {
      {"records", records.size()}, {"revisions", asked}, {"usable", usable},
      {"with_opening", opened},    {"tries", tries},     {"problems", count_by(records, "revision_problem")}};
  if (checked > 0) figures["followed"] = {{"before", before / checked}, {"after", after / checked}};
  return figures;
}

}  // namespace

Json revise(const ReviseConfig& config, const Constitution& constitution, const std::vector<Json>& critiques,
            RecordWriter& out, Speaker& model, Random random, const ProgressFn& progress) {
  for (std::size_t i = 0; i < critiques.size(); ++i)
    for (const char* field : {"prompt", "answer", "principle", "critique"})
      text_field(critiques[i], field, i);
  const Revisions revisions(config, constitution, critiques, random);
  for (std::size_t i = 0; i < critiques.size(); ++i)
    revisions.principle(i);  // throws where the constitution has no such principle
  const auto asks_of = [&](std::size_t i) { return revisions.asks(i); };
  const auto finish = [&](std::span<const std::size_t> which, std::vector<std::vector<Reply>> replies) {
    std::vector<Json> records;
    for (std::size_t k = 0; k < which.size(); ++k)
      records.push_back(revisions.best(which[k], replies[k]));
    for (long attempt = 0;; ++attempt) {
      if (config.judge == "yes") compare_with_answers(constitution, records, model, random.derive("judge"));
      if (attempt + 1 >= config.tries) return records;
      try_again(revisions, attempt + 1, which, replies, records, model);
    }
  };
  return figures_of(ask_in_windows("revise", critiques.size(), out, model, progress, asks_of, finish));
}

}  // namespace cai
