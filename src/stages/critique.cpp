#include "cai/stages/critique.hpp"

#include <algorithm>
#include <set>

#include "cai/base/text.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/checking.hpp"
#include "cai/stages/clean.hpp"
#include "cai/stages/sentences.hpp"
#include "cai/stages/principles.hpp"

namespace cai {
namespace {

// The answer that this round starts from; the earlier round moves into `history`.
Json start_round(Json record, int round) {
  std::string answer = optional_text(record, "response");
  if (record.contains("answer")) {
    Json earlier = Json::object();
    for (const char* field :
         {"round", "principle", "principle_by", "answer", "critique", "critique_by", "critique_problem",
          "opening", "revision", "revision_problem", "followed", "tries"}) {
      if (!record.contains(field)) continue;
      earlier[field] = record[field];
      record.erase(field);
    }
    const bool is_usable =
        optional_text(earlier, "revision_problem").empty() && !optional_text(earlier, "revision").empty();
    answer = optional_text(earlier, is_usable ? "revision" : "answer");
    Json history =
        record.contains("history") && record["history"].is_array() ? record["history"] : Json::array();
    history.push_back(std::move(earlier));
    record.erase("history");
    record["history"] = std::move(history);
  }
  record["round"] = round;
  record["answer"] = answer;
  return record;
}

// What an answer is criticised under, and who found that.
struct Finding {
  const Principle* principle = nullptr;
  std::string by;      // "check", "tag" (the only one that names it), "model", "draw"; "" without a principle
  std::string broken;  // by a check: what is broken, in words
  bool examined = false;  // whether any principle could have been found broken
};

// A principle whose check the answer breaks: of the first tier, one that no earlier round tried before the
// others.
Finding broken_check(const Constitution& constitution, const Json& record, Random random) {
  std::set<std::string> tried;
  if (const auto history = record.find("history"); history != record.end() && history->is_array())
    for (const Json& round : *history)
      tried.insert(optional_text(round, "principle"));
  std::vector<Checked> broken;
  const std::vector<Checked> checked = check_principles(
      constitution, tags_of(record), optional_text(record, "prompt"), optional_text(record, "answer"));
  for (const Checked& one : checked)
    if (!one.broken.empty()) broken.push_back(one);
  const auto is_tried = [&](const Checked& one) { return tried.contains(one.principle->id); };
  if (!std::all_of(broken.begin(), broken.end(), is_tried)) std::erase_if(broken, is_tried);
  std::vector<const Principle*> principles;
  for (const Checked& one : broken)
    principles.push_back(one.principle);
  const Principle* drawn = draw_principle(first_tier(principles), random);
  for (const Checked& one : broken)
    if (one.principle == drawn) return {drawn, "check", one.broken, true};
  return {.examined = !checked.empty()};
}

// The principles without a check that an answer may be criticised under.
std::vector<const Principle*> judged_principles(const CritiqueConfig& config,
                                                const Constitution& constitution, const Json& record) {
  const std::string kind = kind_of(record);
  if (!config.harmless && (kind == "ordinary" || kind == "borderline")) return {};
  std::vector<const Principle*> all = principles_for(constitution, record, true);
  std::erase_if(all, [](const Principle* p) { return !p->check.empty(); });
  return most_specific(all, record);
}

std::string critique_of(const Finding& finding) {
  return "The answer breaks the rule \"" + finding.principle->text + "\" (" + finding.broken + ").";
}

class Critic {
 public:
  Critic(const CritiqueConfig& config, const Constitution& constitution, int round,
         const std::vector<Json>& responses, Random random)
      : config_(config), constitution_(constitution), random_(random) {
    for (const Json& response : responses)
      records_.push_back(start_round(response, round));
    findings_.resize(records_.size());
  }

  /// Decides the principle of every record; asks the model where several fit equally.
  void decide(Speaker& model) {
    constexpr std::size_t kMost = 20;
    std::vector<PrincipleQuestion> questions;
    std::vector<std::size_t> asked;
    for (std::size_t i = 0; i < records_.size(); ++i) {
      const Json& record = records_[i];
      const Random mine = random_.derive(record_id(record, i)).derive("principle");
      if (words_of(optional_text(record, "answer")).empty()) continue;  // nothing to criticise
      findings_[i] = broken_check(constitution_, record, mine);
      if (findings_[i].principle) continue;
      const std::vector<const Principle*> fitting = judged_principles(config_, constitution_, record);
      if (fitting.empty()) continue;
      findings_[i].examined = true;
      const bool is_one = fitting.size() == 1 && !fitting.front()->applies_to.empty();
      if (config_.principle == "ask" && !is_one && fitting.size() <= kMost) {
        questions.push_back({optional_text(record, "prompt"), optional_text(record, "answer"), fitting});
        asked.push_back(i);
      } else {
        findings_[i] = {draw_principle(fitting, mine), is_one ? "tag" : "draw", "", true};
      }
    }
    const std::vector<const Principle*> answers = ask_principles(questions, model);
    for (std::size_t k = 0; k < asked.size(); ++k)
      if (answers[k]) findings_[asked[k]] = {answers[k], "model", "", true};
  }

  const Json& record(std::size_t i) const { return records_[i]; }
  const Finding& finding(std::size_t i) const { return findings_[i]; }

 private:
  const CritiqueConfig& config_;
  const Constitution& constitution_;
  const Random random_;
  std::vector<Json> records_;
  std::vector<Finding> findings_;
};

Json figures_of(const std::vector<Json>& records) {
  const auto count = [&](auto is) { return std::count_if(records.begin(), records.end(), is); };
  const long found = count([](const Json& r) { return !optional_text(r, "principle").empty(); });
  const long usable = count([](const Json& r) { return optional_text(r, "critique_problem").empty(); });
  Json declined_red_team = {{"declined", 0}, {"not_declined", 0}};
  for (const Json& r : records)
    if (kind_of(r) == "red-team") {
      Json& n = declined_red_team[optional_flag(r, "decline") ? "declined" : "not_declined"];
      n = n.get<long>() + 1;
    }
  return {{"records", records.size()},
          {"critiques", found},
          {"usable", usable},
          {"problems", count_by(records, "critique_problem")},
          {"principles", count_by(records, "principle")},
          {"principle_by", count_by(records, "principle_by")},
          {"red_team", declined_red_team},
          {"decided_by", count_by(records, "decline_by")}};
}

}  // namespace

Json critique(const CritiqueConfig& config, const Constitution& constitution, int round,
              const std::vector<Json>& responses, RecordWriter& out, Speaker& model, Random random,
              const ProgressFn& progress) {
  for (std::size_t i = 0; i < responses.size(); ++i) {
    text_field(responses[i], "prompt", i);
    text_field(responses[i], "response", i);
  }
  std::vector<Decline> declines;
  const bool are_decided = !responses.empty() && responses.front().contains("decline");
  const bool is_whole = out.already_written().size() == responses.size();
  if (!are_decided && !is_whole) declines = decide_declines(responses, model);
  Critic critic(config, constitution, round, responses, random);
  if (!is_whole) critic.decide(model);

  const std::vector<Message> exemplars = critique_exemplars(constitution, config.examples);
  const std::string opening = critique_opening(constitution, config.examples);
  const auto asks_of = [&](std::size_t i) -> std::vector<Ask> {
    const Finding& finding = critic.finding(i);
    if (!finding.principle || finding.by == "check") return {};
    const Json& record = critic.record(i);
    return {Ask{.messages = critique_question(exemplars, optional_text(record, "prompt"),
                                              optional_text(record, "answer"), *finding.principle),
                .opening = opening,
                .max_new_tokens = static_cast<int>(config.max_new_tokens),
                .temperature = config.temperature,
                .random = random.derive(record_id(record, i))}};
  };
  const auto finish = [&](std::size_t i, std::vector<Reply> replies) {
    const Finding& finding = critic.finding(i);
    Json record = critic.record(i);
    if (!record.contains("id")) record["id"] = record_id(record, i);
    if (!are_decided) {
      record["decline"] = declines[i].should;
      record["decline_by"] = declines[i].by;
      record["harm"] = declines[i].harm;
    }
    record["principle"] = finding.principle ? finding.principle->id : "";
    record["principle_by"] = finding.by;
    if (replies.empty()) {
      record["critique"] = finding.principle ? critique_of(finding) : "";
      record["critique_by"] = finding.principle ? "check" : "";
      record["critique_problem"] = finding.principle ? "" : finding.examined ? "none-violated" : "none-asked";
      return record;
    }
    std::string text = strip_meta(replies[0].text);
    if (replies[0].finish != "stop") text = cut_at_sentence(text);
    record["critique"] = text;
    record["critique_by"] = "model";
    record["critique_problem"] = critique_problem(optional_text(record, "answer"), text, replies[0].finish);
    return record;
  };
  return figures_of(ask_records("critique", responses.size(), out, model, progress, asks_of, finish));
}

}  // namespace cai
