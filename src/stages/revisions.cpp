#include "cai/stages/revisions.hpp"

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/data/refusal.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/clean.hpp"
#include "cai/stages/principles.hpp"
#include "cai/stages/revise_words.hpp"
#include "cai/stages/sentences.hpp"

namespace cai {
namespace {

// Behind the opening: talk about the answer or the rule, words of the critique or the principle.
std::string talk(const Json& record, const Principle& principle, const std::string& opening,
                 const std::string& text) {
  const std::string rest = text.starts_with(opening) ? text.substr(opening.size()) : text;
  const bool declines = optional_flag(record, "decline");  // to say no, nothing has to be said of an answer
  if (talks_of_answers(rest) || (declines && lower_ascii(rest).find("the answer") != rest.npos))
    return "meta";
  const bool is_echo = echoes(optional_text(record, "critique"), rest) || echoes(principle.text, rest);
  return is_echo ? "echo" : "";
}

}  // namespace

// One of the revisions of a record, and what is to be said of it.
struct Revisions::Try {
  std::string text, problem;
  double followed = 1;
  bool is_mended = false;
};

Revisions::Revisions(const ReviseConfig& config, const Constitution& constitution,
                     const std::vector<Json>& critiques, Random random)
    : config_(config),
      constitution_(constitution),
      critiques_(critiques),
      random_(random),
      exemplars_(critique_exemplars(constitution, config.examples)) {}

const Principle* Revisions::principle(std::size_t i) const {
  const std::string id = optional_text(critiques_[i], "principle");
  for (const Principle& p : constitution_.principles)
    if (p.id == id) return &p;
  if (id.empty()) return nullptr;
  throw InputError("record " + in_quotes(record_id(critiques_[i], i)) +
                   ": the constitution has no principle " + in_quotes(id));
}

Random Revisions::random(std::size_t i) const {
  return random_.derive(record_id(critiques_[i], i));
}

std::vector<Ask> Revisions::asks(std::size_t i) const {
  const Principle* principle = this->principle(i);
  if (!principle) return {};
  return {ask(i, *principle, optional_text(critiques_[i], "answer"), 0)};
}

NextRevision Revisions::next(std::size_t i, const Json& best, long attempt) const {
  const Principle* principle = this->principle(i);
  if (!is_by_rule(*principle, critiques_[i]))
    return {ask(i, *principle, optional_text(best, "answer"), attempt), {}};
  const bool is_kept = optional_text(best, "revision_problem").empty();
  const std::string text = optional_text(best, is_kept ? "revision" : "answer");
  std::vector<const Principle*> broken;
  for (const Checked& one : checked(i, text))
    if (!one.broken.empty()) broken.push_back(one.principle);
  if (broken.empty()) return {ask(i, *principle, text, attempt), {}};
  const auto number = static_cast<std::size_t>(attempt);
  principle = broken[number % broken.size()];
  if (const std::optional<Mend> mend = mend_of(i, *principle, text, number / broken.size()))
    return {ask_to_end(i, *mend, attempt), mend};
  return {ask(i, *principle, text, attempt), {}};
}

Json Revisions::best(std::size_t i, std::span<const Reply> replies) const {
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
  record["mended"] = chosen.is_mended;
  record["followed"] = {{"before", check_score(before)}, {"after", chosen.followed}};
  if (chosen.problem.empty() && chosen.followed <= check_score(before))
    record["revision_problem"] = "not-better";
  return record;
}

// The change for a broken rule that comes at the `round`-th time it is looked at.
std::optional<Mend> Revisions::mend_of(std::size_t i, const Principle& principle, const std::string& text,
                                       std::size_t round) const {
  const std::string request = optional_text(critiques_[i], "prompt");
  if (!answer_fault(request, text).empty()) return std::nullopt;
  const std::vector<Mend> all =
      mends(principle.check, request, text, random(i).derive("mend").derive(round),
            config_.openings ? principle.revision_openings : std::vector<std::string>());
  if (all.empty()) return std::nullopt;
  return all[round % all.size()];
}

// The model goes on in an answer of its own: nothing is said of rules.
Ask Revisions::ask_to_end(std::size_t i, const Mend& mend, long attempt) const {
  constexpr int kSentence = 32;  // tokens
  Ask ask{.opening = mend.opening(), .max_new_tokens = kSentence, .temperature = config_.temperature};
  ask.messages.push_back({"user", optional_text(critiques_[i], "prompt")});
  ask.random = random(i).derive(static_cast<std::uint64_t>(attempt));
  return ask;
}

Ask Revisions::ask(std::size_t i, const Principle& principle, const std::string& answer, long attempt) const {
  const Json& record = critiques_[i];
  Ask ask{.opening = opening(i),
          .max_new_tokens = static_cast<int>(config_.max_new_tokens),
          .temperature = config_.temperature};
  if (is_by_rule(principle, record))
    ask.messages.push_back({"system", rules_of(constitution_, tags_of(record))});
  else
    ask.messages = exemplars_;
  ask.messages.push_back({"user", optional_text(record, "prompt")});
  ask.messages.push_back({"assistant", answer});
  const bool is_said = optional_text(record, "critique_problem").empty() && principle.check.empty();
  if (is_said) {  // a critique that says nothing is left out of the conversation
    ask.messages.push_back({"user", principle.critique});
    ask.messages.push_back({"assistant", optional_text(record, "critique")});
  }
  ask.messages.push_back({"user", revision_request(principle, record)});
  ask.random = attempt == 0 ? random(i) : random(i).derive(static_cast<std::uint64_t>(attempt));
  return ask;
}

std::string Revisions::opening(std::size_t i) const {
  return draw_opening(config_, constitution_, *principle(i), critiques_[i], random(i).derive("opening"));
}

std::vector<Checked> Revisions::checked(std::size_t i, const std::string& answer) const {
  const Json& record = critiques_[i];
  return check_principles(constitution_, tags_of(record), optional_text(record, "prompt"), answer);
}

// "" or why a revision is not fit to learn from, whatever the checks say.
std::string Revisions::problem_of(std::size_t i, const std::string& text, const std::string& finish) const {
  const Json& record = critiques_[i];
  const Principle& principle = *this->principle(i);
  const std::string opening = this->opening(i), prompt = optional_text(record, "prompt");
  const bool declines = optional_flag(record, "decline"), has_check = !principle.check.empty();
  const std::string problem =
      revision_problem(prompt, optional_text(record, "answer"), text, finish, declines || is_refusal(text));
  if (!problem.empty()) return problem;
  if (!opening.empty() && words_of(text).size() < words_of(opening).size() + 2) return "empty";
  if (declines && complies_after_all(text)) return "complies";
  if (is_by_rule(principle, record) && evades(text)) return "evades";
  if (const std::string told = talk(record, principle, opening, text); !told.empty()) return told;
  return has_check ? answer_fault(prompt, text) : "";
}

Revisions::Try Revisions::judged(std::size_t i, const Reply& reply) const {
  const Json& record = critiques_[i];
  Try one{.text = strip_meta(reply.text), .is_mended = reply.finish == kMended};
  if (reply.finish != "stop" && !one.is_mended) one.text = cut_at_sentence(one.text);
  // A small model's third sentence is about something else.
  if (!opening(i).empty() && optional_flag(record, "decline")) one.text = first_sentences(one.text, 2);
  one.problem = problem_of(i, one.text, reply.finish);
  one.followed = check_score(checked(i, one.text));
  // A small change may be all that a rule of form wants.
  const bool is_better = one.followed > check_score(checked(i, optional_text(record, "answer")));
  if (one.problem == "copy" && !principle(i)->check.empty() && is_better)
    one.problem = answer_fault(optional_text(record, "prompt"), one.text);
  return one;
}

}  // namespace cai
