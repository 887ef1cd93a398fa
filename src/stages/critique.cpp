#include "cai/stages/critique.hpp"

#include <algorithm>

#include "cai/stages/asking.hpp"
#include "cai/stages/clean.hpp"
#include "cai/stages/principles.hpp"

namespace cai {
namespace {

// The answer that this round starts from; the earlier round moves into `history`.
Json start_round(Json record, int round) {
  std::string answer = optional_text(record, "response");
  if (record.contains("answer")) {
    Json earlier = Json::object();
    for (const char* field : {"round", "principle", "answer", "critique", "critique_problem", "opening",
                              "revision", "revision_problem"}) {
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

}  // namespace

Json critique(const CritiqueConfig& config, const Constitution& constitution, int round,
              const std::vector<Json>& responses, RecordWriter& out, Speaker& model, Random random,
              const ProgressFn& progress) {
  for (std::size_t i = 0; i < responses.size(); ++i)
    text_field(responses[i], "prompt", i), text_field(responses[i], "response", i);
  std::vector<Decline> declines;
  const bool are_decided = !responses.empty() && responses.front().contains("decline");
  if (!are_decided && out.already_written().size() < responses.size())
    declines = decide_declines(responses, model);

  const std::vector<Message> exemplars = critique_exemplars(constitution, config.examples);
  const std::string opening = critique_opening(constitution, config.examples);
  const auto principle_of = [&](std::size_t i) {
    const Json& record = responses[i];
    const std::string kind = kind_of(record);
    if (!config.harmless && (kind == "ordinary" || kind == "borderline"))
      return static_cast<const Principle*>(nullptr);
    if (words_of(optional_text(record, "response")).empty() && !record.contains("answer"))
      return static_cast<const Principle*>(nullptr);  // nothing to criticise
    return draw_principle(principles_for(constitution, record, true),
                          random.derive(record_id(record, i)).derive("principle"));
  };
  const auto asks_of = [&](std::size_t i) -> std::vector<Ask> {
    const Principle* principle = principle_of(i);
    if (!principle) return {};
    return {Ask{
        .messages = critique_question(exemplars, text_field(responses[i], "prompt", i),
                                      optional_text(start_round(responses[i], round), "answer"), *principle),
        .opening = opening,
        .max_new_tokens = static_cast<int>(config.max_new_tokens),
        .temperature = config.temperature,
        .random = random.derive(record_id(responses[i], i))}};
  };
  const auto finish = [&](std::size_t i, std::vector<Reply> replies) {
    Json record = start_round(responses[i], round);
    if (!record.contains("id")) record["id"] = record_id(record, i);
    if (!are_decided)
      record["decline"] = declines[i].should, record["decline_by"] = declines[i].by,
      record["harm"] = declines[i].harm;
    if (replies.empty()) {
      record["principle"] = "", record["critique"] = "", record["critique_problem"] = "none-asked";
      return record;
    }
    std::string text = strip_meta(replies[0].text);
    if (replies[0].finish != "stop") text = cut_at_sentence(text);
    record["principle"] = principle_of(i)->id;
    record["critique"] = text;
    record["critique_problem"] = critique_problem(optional_text(record, "answer"), text, replies[0].finish);
    return record;
  };
  const std::vector<Json> records =
      ask_records("critique", responses.size(), out, model, progress, asks_of, finish);

  const long asked = std::count_if(records.begin(), records.end(),
                                   [](const Json& r) { return !optional_text(r, "principle").empty(); });
  const long usable = std::count_if(records.begin(), records.end(), [](const Json& r) {
    return optional_text(r, "critique_problem").empty();
  });
  Json declined_red_team = {{"declined", 0}, {"not_declined", 0}};
  for (const Json& r : records)
    if (kind_of(r) == "red-team") {
      Json& n = declined_red_team[optional_flag(r, "decline") ? "declined" : "not_declined"];
      n = n.get<long>() + 1;
    }
  return {{"records", records.size()},
          {"critiques", asked},
          {"usable", usable},
          {"problems", count_by(records, "critique_problem")},
          {"principles", count_by(records, "principle")},
          {"red_team", declined_red_team},
          {"decided_by", count_by(records, "decline_by")}};
}

}  // namespace cai
