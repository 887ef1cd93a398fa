#include "cai/stages/revise.hpp"

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/clean.hpp"
#include "cai/data/refusal.hpp"
#include "cai/stages/principles.hpp"

namespace cai {
namespace {

// The words that commit the revision, or "". A request to decline gets one of the principle's openings (ours
// where it has none); a principle made for ordinary prompts uses its own.
std::string draw_opening(const ReviseConfig& config, const Constitution& constitution,
                         const Principle& principle, const Json& record, Random random) {
  if (!config.openings) return "";
  const std::string kind = kind_of(record);
  const bool is_harmless = kind == "ordinary" || kind == "borderline";
  if (!is_harmless && !optional_flag(record, "decline")) return "";
  const std::vector<std::string> openings = principle.revision_openings.empty() && !is_harmless
                                                ? decline_openings(constitution)
                                                : principle.revision_openings;
  return openings.empty() ? "" : openings[random.below(openings.size())];
}

}  // namespace

Json revise(const ReviseConfig& config, const Constitution& constitution, const std::vector<Json>& critiques,
            RecordWriter& out, Speaker& model, Random random, const ProgressFn& progress) {
  for (std::size_t i = 0; i < critiques.size(); ++i)
    for (const char* field : {"prompt", "answer", "principle", "critique"})
      text_field(critiques[i], field, i);
  const std::vector<Message> exemplars = critique_exemplars(constitution, config.examples);
  const auto principle_of = [&](std::size_t i) -> const Principle* {
    const std::string id = optional_text(critiques[i], "principle");
    for (const Principle& p : constitution.principles)
      if (p.id == id) return &p;
    if (!id.empty())
      throw InputError("record " + in_quotes(record_id(critiques[i], i)) +
                       ": the constitution has no principle " + in_quotes(id));
    return nullptr;
  };
  const auto opening_of = [&](std::size_t i) {
    return draw_opening(config, constitution, *principle_of(i), critiques[i],
                        random.derive(record_id(critiques[i], i)).derive("opening"));
  };
  const auto asks_of = [&](std::size_t i) -> std::vector<Ask> {
    const Json& record = critiques[i];
    const Principle* principle = principle_of(i);
    if (!principle) return {};
    Ask ask{.messages = exemplars,
            .opening = opening_of(i),
            .max_new_tokens = static_cast<int>(config.max_new_tokens),
            .temperature = config.temperature,
            .random = random.derive(record_id(record, i))};
    ask.messages.push_back({"user", optional_text(record, "prompt")});
    ask.messages.push_back({"assistant", optional_text(record, "answer")});
    if (optional_text(record, "critique_problem")
            .empty()) {  // a critique that says nothing is left out of the conversation
      ask.messages.push_back({"user", principle->critique});
      ask.messages.push_back({"assistant", optional_text(record, "critique")});
    }
    ask.messages.push_back({"user", principle->revision});
    return {std::move(ask)};
  };
  const auto finish = [&](std::size_t i, std::vector<Reply> replies) {
    Json record = critiques[i];
    if (replies.empty()) {
      record["opening"] = "", record["revision"] = "", record["revision_problem"] = "none-asked";
      return record;
    }
    const std::string opening = opening_of(i);
    std::string text = strip_meta(replies[0].text);
    if (replies[0].finish != "stop") text = cut_at_sentence(text);
    if (!opening.empty() && optional_flag(record, "decline"))
      text = first_sentences(text, 2);  // a small model's third sentence is about something else
    const bool refuses = optional_flag(record, "decline") || is_refusal(text);
    std::string problem = revision_problem(optional_text(record, "prompt"), optional_text(record, "answer"),
                                           text, replies[0].finish, refuses);
    if (problem.empty() && !opening.empty() && words_of(text).size() < words_of(opening).size() + 2)
      problem = "empty";
    if (problem.empty() && optional_flag(record, "decline") && complies_after_all(text)) problem = "complies";
    record["opening"] = opening;
    record["revision"] = text;
    record["revision_problem"] = problem;
    return record;
  };
  const std::vector<Json> records =
      ask_records("revise", critiques.size(), out, model, progress, asks_of, finish);

  long asked = 0, usable = 0, opened = 0;
  for (const Json& record : records) {
    asked += !optional_text(record, "principle").empty();
    usable += optional_text(record, "revision_problem").empty();
    opened += !optional_text(record, "opening").empty();
  }
  return {{"records", records.size()},
          {"revisions", asked},
          {"usable", usable},
          {"with_opening", opened},
          {"problems", count_by(records, "revision_problem")}};
}

}  // namespace cai
