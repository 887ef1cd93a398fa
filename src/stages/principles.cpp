#include "cai/stages/principles.hpp"

#include <algorithm>
#include <cmath>

#include "cai/data/check_scope.hpp"
#include "cai/stages/asking.hpp"

namespace cai {
namespace {

constexpr const char* kCritiqueRequest = "Say in one or two sentences what is wrong with your last answer.";
constexpr const char* kRevisionRequest = "Rewrite your last answer so that nothing is wrong with it.";

bool names_a_tag(const Principle& principle, const std::vector<std::string>& tags) {
  return !principle.applies_to.empty() && principle.applies(tags);
}

bool is_for_harmless_only(const Principle& principle) {
  return !principle.applies_to.empty() &&
         std::all_of(principle.applies_to.begin(), principle.applies_to.end(),
                     [](const std::string& t) { return t == "ordinary" || t == "borderline"; });
}

// Whether a program verifies what it asks of answers, and that is not to decline.
bool is_verified_help(const Principle& principle) {
  return !principle.check.empty() && !wants_refusal(principle.check);
}

// The principles with a letter each; the last letter stands for none of them. What all questions share comes
// first.
Choice principle_choice(const PrincipleQuestion& q, bool reversed) {
  std::vector<const Principle*> order = q.principles;
  if (reversed) std::reverse(order.begin(), order.end());
  std::string text = "These are the principles for answers:\n";
  Choice choice{.opening = "Letter:"};
  for (std::size_t k = 0; k <= order.size(); ++k) {
    const std::string letter(1, static_cast<char>('A' + k));
    text += "(" + letter + ") " + (k < order.size() ? order[k]->text : "None of these.") + "\n";
    choice.options.push_back(" " + letter);
  }
  text += "\nRequest:\n" + quoted_lines(q.prompt) + "\n\nAnswer:\n" + quoted_lines(q.answer) +
          "\n\nWhich principle does this answer go against most? Reply with its letter.";
  choice.messages = {{"user", text}};
  return choice;
}

double mean(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x)
    sum += v;
  return sum / static_cast<double>(x.size());
}

double squares(const std::vector<double>& x) {
  const double m = mean(x);
  double sum = 0;
  for (double v : x)
    sum += (v - m) * (v - m);
  return sum;
}

}  // namespace

std::vector<const Principle*> principles_for(const Constitution& constitution, const Json& record,
                                             bool for_critique) {
  const std::vector<std::string> tags = tags_of(record);
  const std::string kind = kind_of(record);
  const bool only_named = for_critique && (kind == "ordinary" || kind == "borderline");
  std::vector<const Principle*> found;
  for (const Principle& p : constitution.principles)
    if (tags.empty() || (only_named ? names_a_tag(p, tags) : p.applies(tags)))
      found.push_back(&p);  // nothing is known of an untagged prompt: any may apply
  return found;
}

std::vector<const Principle*> helping_principles(const Constitution& constitution) {
  std::vector<const Principle*> some;
  for (const Principle& p : constitution.principles)
    if (is_for_harmless_only(p) && std::any_of(p.tests.begin(), p.tests.end(),
                                               [](const PrincipleTest& test) { return test.must == "help"; }))
      some.push_back(&p);
  return some;
}

std::vector<const Principle*> most_specific(const std::vector<const Principle*>& principles,
                                            const Json& record) {
  const std::vector<std::string> tags = tags_of(record);
  if (tags.empty()) return principles;
  const std::string kind = kind_of(record);
  const auto rank = [&](const Principle* p) {
    int best = 0;
    for (const std::string& tag : tags) {
      const bool is_named = std::find(p->applies_to.begin(), p->applies_to.end(), tag) != p->applies_to.end();
      if (is_named) best = std::max(best, tag == kind ? 1 : 2);
    }
    return best;
  };
  int highest = 0;
  for (const Principle* p : principles)
    highest = std::max(highest, rank(p));
  std::vector<const Principle*> found;
  for (const Principle* p : principles)
    if (rank(p) == highest) found.push_back(p);
  return found;
}

std::vector<const Principle*> first_tier(const std::vector<const Principle*>& principles) {
  const auto tier = [](const Principle* p) { return p->hard ? 0 : p->priority; };
  std::vector<const Principle*> found;
  for (const Principle* p : principles) {
    if (!found.empty() && tier(p) < tier(found.front())) found.clear();
    if (found.empty() || tier(p) == tier(found.front())) found.push_back(p);
  }
  return found;
}

std::vector<const Principle*> ask_principles(const std::vector<PrincipleQuestion>& questions,
                                             Speaker& model) {
  std::vector<Choice> choices;
  for (const PrincipleQuestion& q : questions)
    for (const bool reversed : {false, true})
      choices.push_back(principle_choice(q, reversed));
  const std::vector<std::vector<double>> answers = model.choose(choices);
  std::vector<const Principle*> chosen;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const std::size_t n = questions[i].principles.size();
    const Principle* best = nullptr;
    const std::vector<double>&first = answers[2 * i], &second = answers[2 * i + 1];
    if (first.size() == n + 1 && second.size() == n + 1) {
      double most = first[n] + second[n];
      for (std::size_t k = 0; k < n; ++k) {
        const double both = first[k] + second[n - 1 - k];
        if (std::isfinite(both) && both > most) most = both, best = questions[i].principles[k];
      }
    }
    chosen.push_back(best);
  }
  return chosen;
}

const Principle* draw_principle(const std::vector<const Principle*>& principles, Random random) {
  if (principles.empty()) return nullptr;
  std::vector<double> weights;
  for (const Principle* p : principles)
    weights.push_back(p->weight);
  return principles[draw_weighted(weights, random)];
}

std::vector<std::string> decline_openings(const Constitution& constitution) {
  std::vector<std::string> all;
  const auto add = [&](const std::string& opening) {
    if (std::find(all.begin(), all.end(), opening) == all.end()) all.push_back(opening);
  };
  for (const Principle& p : constitution.principles)
    if (!is_for_harmless_only(p) && !is_verified_help(p))
      std::for_each(p.revision_openings.begin(), p.revision_openings.end(), add);
  if (all.size() >= 6) return all;
  for (const char* opening :
       {"I can't help with that, because", "I won't help with this, since",
        "I'm not able to help with that, because", "Sorry, but I can't help with that. It",
        "That is something I can't help with, because", "I have to decline this, because",
        "I'm sorry, but I won't do that, because", "No, I can't help with this. It"})
    add(opening);
  return all;
}

std::vector<Message> critique_exemplars(const Constitution& constitution, long examples) {
  std::vector<Message> turns;
  const std::size_t n =
      std::min(constitution.critique_examples.size(), static_cast<std::size_t>(std::max(0L, examples)));
  for (std::size_t i = 0; i < n; ++i) {
    const CritiqueExample& e = constitution.critique_examples[i];
    turns.insert(turns.end(), {{"user", e.prompt},
                               {"assistant", e.response},
                               {"user", kCritiqueRequest},
                               {"assistant", e.critique},
                               {"user", kRevisionRequest},
                               {"assistant", e.revision}});
  }
  return turns;
}

std::string critique_opening(const Constitution& constitution, long examples) {
  const std::size_t n =
      std::min(constitution.critique_examples.size(), static_cast<std::size_t>(std::max(0L, examples)));
  if (n == 0) return "The answer";
  std::string common = constitution.critique_examples[0].critique;
  for (std::size_t i = 1; i < n; ++i) {
    const std::string& other = constitution.critique_examples[i].critique;
    const auto end = std::mismatch(common.begin(), common.end(), other.begin(), other.end()).first;
    common.erase(end, common.end());
  }
  if (n > 1 && common.find(' ') == common.npos) return "";  // not one word in common
  return n > 1 ? common.substr(0, common.rfind(' ')) : common.substr(0, common.find(' '));
}

std::vector<Message> critique_question(const std::vector<Message>& exemplars, const std::string& prompt,
                                       const std::string& answer, const Principle& principle) {
  std::vector<Message> messages = exemplars;
  messages.insert(messages.end(), {{"user", prompt}, {"assistant", answer}, {"user", principle.critique}});
  return messages;
}

std::vector<Decline> decide_declines(const std::vector<Json>& records, Speaker& model) {
  std::vector<Choice> choices;
  for (std::size_t i = 0; i < records.size(); ++i)
    choices.push_back({.messages = {{"user",
                                     "Would answering the following request help someone to do harm, break "
                                     "the law or hurt people? Answer Yes or No.\n\nRequest: " +
                                         text_field(records[i], "prompt", i)}},
                       .opening = "Answer:",
                       .options = {" Yes", " No"}});
  const std::vector<std::vector<double>> answers = model.choose(choices);
  std::vector<Decline> declines(records.size());
  std::vector<double> red_team, ordinary;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const std::string kind = kind_of(records[i]);
    declines[i] = {.should = kind == "red-team", .by = "tag"};
    if (answers[i].size() != 2 || !std::isfinite(answers[i][0]) || !std::isfinite(answers[i][1])) continue;
    declines[i].harm = answers[i][0] - answers[i][1];
    declines[i].by = "score";
    if (kind == "red-team") red_team.push_back(declines[i].harm);
    if (kind == "ordinary") ordinary.push_back(declines[i].harm);
  }
  // Two normal distributions of one width; a red-team tag speaks nine to one for declining, no tag one to
  // one.
  const bool measurable = red_team.size() >= 20 && ordinary.size() >= 20;
  const double apart = measurable ? mean(red_team) - mean(ordinary) : 0;
  const double variance = measurable ? (squares(red_team) + squares(ordinary)) /
                                           static_cast<double>(red_team.size() + ordinary.size() - 2)
                                     : 1;
  for (std::size_t i = 0; i < records.size(); ++i) {
    Decline& d = declines[i];
    const std::string kind = kind_of(records[i]);
    if (d.by == "tag" || !(apart > 0) || !(variance > 0) || kind == "ordinary" || kind == "borderline") {
      d.by = "tag";
      continue;
    }
    const double evidence = apart / variance * (d.harm - (mean(red_team) + mean(ordinary)) / 2);
    d.should = evidence + (kind == "red-team" ? std::log(9.0) : 0.0) > 0;
  }
  return declines;
}

Contrast contrast_of(const Constitution& constitution, const Principle& principle, bool decline) {
  if (decline) return {constitution.system, principle.opposite};
  // Where the request is fine, the wanted side helps and the other one is overcautious.
  const bool is_said = is_for_harmless_only(principle) || is_verified_help(principle);
  return {is_said ? "You are a helpful assistant. " + principle.text : "",
          "You are an overcautious assistant. You decline, in one or two polite sentences, whatever could be "
          "misunderstood, and you never explain how anything is done."};
}

}  // namespace cai
