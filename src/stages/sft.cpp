#include "cai/stages/sft.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/engine/devices.hpp"
#include "cai/io/file.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/clean.hpp"
#include "cai/data/refusal.hpp"
#include "cai/stages/trained_adapter.hpp"
#include "cai/stages/training.hpp"

namespace cai {
namespace {

struct Picked {
  std::string id, prompt, answer, kind;
  bool declines = false, unrevised = false;
};

void add_revisions(const Json& record, const std::string& id, const std::string& prompt,
                   const std::string& kind, bool declines, std::vector<Picked>& picked, SftExamples& made) {
  const std::string problem =
      record.contains("revision_problem") ? optional_text(record, "revision_problem") : "no revision";
  if (!problem.empty()) {
    made.leave_out(id, "revision " + problem);
    return;
  }
  picked.push_back({id, prompt, optional_text(record, "revision"), kind, declines});
  ++made.used[(optional_flag(record, "edited") ? "edit " : "revision ") + (kind.empty() ? "untagged" : kind)];
}

// Whether a round asked for a revision at all.
bool asked_for_revision(const Json& round) {
  return round.contains("revision_problem") && optional_text(round, "revision_problem") != "none-asked";
}

bool has_usable_revision(const Json& round) {
  return asked_for_revision(round) && optional_text(round, "revision_problem").empty();
}

// The newest round with a usable revision; without one the newest that asked for a revision; else null.
const Json* newest_revision(const Json& record) {
  std::vector<const Json*> rounds = {&record};
  if (const auto history = record.find("history"); history != record.end() && history->is_array())
    for (auto round = history->rbegin(); round != history->rend(); ++round)
      if (round->is_object()) rounds.push_back(&*round);
  for (const auto is_fit : {has_usable_revision, asked_for_revision})
    for (const Json* round : rounds)
      if (is_fit(*round)) return round;
  return nullptr;
}

// What is learned from each record; `made` counts it.
std::vector<Picked> select(const SftConfig& config, const std::vector<Json>& records, SftExamples& made) {
  std::vector<Picked> picked;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Json& record = records[i];
    const std::string id = record_id(record, i), prompt = text_field(record, "prompt", i),
                      kind = kind_of(record);
    const bool declines = optional_flag(record, "decline");
    const Json* revised =
        config.revisions == "all" && asked_for_revision(record) ? &record : newest_revision(record);
    if (revised) {
      add_revisions(*revised, id, prompt, kind, declines, picked, made);
    } else if (kind == "red-team") {
      made.leave_out(
          id, "red-team prompt without a revision");  // the unrevised answer is what should be unlearned
    } else if (config.unrevised == "none") {
      made.leave_out(id, "not revised");
    } else {
      std::string why;
      const std::string answer =
          own_answer(optional_text(record, "response"), optional_text(record, "finish"), why);
      if (!why.empty())
        made.leave_out(id, "response " + why);
      else
        picked.push_back({id, prompt, answer, kind, false, true}),
            ++made.used["response " + (kind.empty() ? "untagged" : kind)];
    }
    if (config.revisions == "all" && record.contains("history") && record["history"].is_array())
      for (const Json& earlier : record["history"])
        if (earlier.is_object())
          add_revisions(earlier, id + "#" + earlier.value("round", Json(0)).dump(), prompt, kind, declines,
                        picked, made);
  }
  return picked;
}

// Loss on the answer alone: with the opening it is one text to the tokenizer, as where the model is asked. A
// turn weighs as much as an answer of mean length: a letter is one token, and without that weight a step's
// loss would hardly know of it.
TrainExample turn_example(const ChatTemplate& chat, const JudgeTurn& turn, double mean_answer_tokens) {
  TrainExample e{.id = turn.id, .tokens = chat.encode(turn.messages, true)};
  const std::vector<int> opening = chat.encode_answer(turn.opening),
                         whole = chat.encode_answer(turn.opening + turn.answer);
  const auto shared =
      std::mismatch(opening.begin(), opening.end(), whole.begin(), whole.end()).first - opening.begin();
  e.prompt_tokens = static_cast<int>(e.tokens.size()) + static_cast<int>(shared);
  e.tokens.insert(e.tokens.end(), whole.begin(), whole.end());
  e.tokens.push_back(chat.stops().front());
  e.weight = mean_answer_tokens / static_cast<double>(static_cast<int>(e.tokens.size()) - e.prompt_tokens);
  return e;
}

}  // namespace

std::vector<Json> with_edits(std::vector<Json> records, const People& people) {
  std::map<std::string, const Json*> edit_of;  // by prompt
  for (const Json& edit : people.edits())
    edit_of[edit.at("prompt").get<std::string>()] = &edit;
  const auto put = [](Json& record, const Json& edit) {
    const std::string answer = edit.at("edited").get<std::string>();
    record["revision"] = answer, record["revision_problem"] = "", record["decline"] = is_refusal(answer),
    record["edited"] = true;
    record.erase("history");
  };
  std::set<std::string> known;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const std::string prompt = text_field(records[i], "prompt", i);
    known.insert(prompt);
    if (const auto edit = edit_of.find(prompt); edit != edit_of.end()) put(records[i], *edit->second);
  }
  for (const Json& edit : people.edits()) {
    const std::string prompt = edit.at("prompt").get<std::string>();
    if (!known.insert(prompt).second) continue;
    Json record = {{"id", "edit:" + edit.at("id").get<std::string>()}, {"prompt", prompt}};
    if (edit.contains("tags")) record["tags"] = edit["tags"];
    put(record, *edit_of.at(prompt));
    records.push_back(std::move(record));
  }
  return records;
}

std::vector<std::vector<int>> find_decisions(const std::vector<bool>& declines,
                                             std::vector<TrainExample>& examples) {
  constexpr std::size_t kMostTokens = 4, kMostOpenings = 8;
  const long all_declining = std::count(declines.begin(), declines.end(), true),
             all_answering = static_cast<long>(examples.size()) - all_declining;
  if (all_declining == 0 || all_answering == 0) return {};
  std::vector<std::vector<int>> found;
  std::map<std::vector<int>, std::vector<std::size_t>> begin_alike;  // beginning: the examples that have it
  for (std::size_t i = 0; i < examples.size(); ++i)
    begin_alike[{}].push_back(i);
  for (std::size_t depth = 0; depth < kMostTokens; ++depth) {
    std::map<std::vector<int>, std::vector<std::size_t>> longer;
    for (const auto& [beginning, alike] : begin_alike) {
      const auto next_token = [&](std::size_t i) {
        return examples[i].tokens[static_cast<std::size_t>(examples[i].prompt_tokens) + depth];
      };
      std::map<int, long> declining, answering;
      long here = 0;
      for (std::size_t i : alike)
        if (declines[i])
          ++here, ++declining[next_token(i)];
        else
          ++answering[next_token(i)];
      std::vector<std::pair<long, int>> common;
      for (const auto& [token, n] : declining)
        if (50 * n >= here && n * all_answering > answering[token] * all_declining)
          common.emplace_back(-n, token);
      std::sort(common.begin(), common.end());
      std::vector<int> openings;
      for (std::size_t i = 0; i < std::min(kMostOpenings, common.size()); ++i)
        openings.push_back(common[i].second);
      for (std::size_t i : alike) {
        const bool goes_on = std::find(openings.begin(), openings.end(), next_token(i)) != openings.end();
        if (!openings.empty() && goes_on == declines[i])
          examples[i].decisions.push_back({static_cast<int>(depth), declines[i], openings});
        if (!goes_on ||
            examples[i].tokens.size() == static_cast<std::size_t>(examples[i].prompt_tokens) + depth + 1)
          continue;
        std::vector<int> longer_beginning = beginning;
        longer_beginning.push_back(next_token(i));
        longer[longer_beginning].push_back(i);
      }
      for (int token : openings)
        found.push_back(beginning), found.back().push_back(token);
    }
    begin_alike = std::move(longer);
  }
  return found;
}

SftConfig with_weight_of_one_decision(SftConfig config, const std::vector<TrainExample>& examples) {
  const auto deciding = [&](bool to_decline) {
    return static_cast<double>(std::count_if(examples.begin(), examples.end(), [&](const TrainExample& e) {
      return !e.decisions.empty() && e.decisions.front().at == 0 &&
             e.decisions.front().declines == to_decline;
    }));
  };
  if (const double answering = deciding(false); answering > 0)
    config.answering_weight *= deciding(true) / answering;
  return config;
}

void SftExamples::leave_out(const std::string& id, const std::string& why) {
  ++left_out[why];
  uses.push_back({{"id", id}, {"use", "left-out"}, {"why", why}});
}

SftExamples sft_examples(const SftConfig& config, const std::vector<Json>& records,
                         const ChatTemplate& chat) {
  SftExamples made;
  std::vector<bool> declines;
  for (const Picked& one : select(config, records, made)) {
    TrainExample e{.id = one.id};
    const std::vector<int> prompt = prompt_tokens(chat, one.prompt);
    e.tokens = answered_tokens(chat, prompt, one.answer, true);
    e.prompt_tokens = static_cast<int>(prompt.size());
    e.as_before = one.unrevised && config.unrevised == "distribution";
    if (static_cast<long>(e.tokens.size()) > config.max_tokens)
      made.leave_out(one.id, "longer than sft.max_tokens");
    else
      made.examples.push_back(std::move(e)), declines.push_back(one.declines);
  }
  if (made.examples.empty())
    throw InputError("sft: none of the " + std::to_string(records.size()) + " records is fit to learn from");
  made.openings = find_decisions(declines, made.examples);
  return made;
}

Json sft(const SftConfig& config, const EngineConfig& engine, const std::vector<Json>& records,
         const std::vector<JudgeTurn>& turns, const std::filesystem::path& model,
         const std::filesystem::path& folder, std::uint64_t seed, const ProgressFn& progress) {
  const ChatTemplate chat = load_chat(model, read_model_config(model).vocabulary);
  SftExamples made = sft_examples(config, records, chat);
  std::vector<TrainExample>& examples = made.examples;
  const std::vector<bool> is_held_out = draw_held_out(examples.size(), config.held_out, seed);
  std::string lines;
  for (std::size_t i = 0; i < examples.size(); ++i)
    made.uses.push_back(
        {{"id", examples[i].id}, {"use", is_held_out[i] ? "held-out" : "train"}, {"why", ""}});
  std::vector<TrainExample> train, held_out;
  for (std::size_t i = 0; i < examples.size(); ++i)
    (is_held_out[i] ? held_out : train).push_back(std::move(examples[i]));
  // Turns of a judge are never held out: the held-out loss stays that of answers, and the exam measures what
  // they taught.
  double answer_tokens = 0;
  for (const TrainExample& e : train)
    answer_tokens += static_cast<double>(static_cast<int>(e.tokens.size()) - e.prompt_tokens);
  const double mean_answer_tokens = answer_tokens / static_cast<double>(train.size());
  std::map<std::string, long> judged;
  for (const JudgeTurn& turn : turns) {
    TrainExample e = turn_example(chat, turn, mean_answer_tokens);
    if (static_cast<long>(e.tokens.size()) > config.max_tokens) {
      made.leave_out(turn.id, "judge turn longer than sft.max_tokens");
      continue;
    }
    made.uses.push_back({{"id", turn.id}, {"use", "train"}, {"why", ""}});
    train.push_back(std::move(e)), ++judged[turn.kind];
  }
  const std::size_t answers = examples.size() - held_out.size();
  for (const Json& use : made.uses)
    lines += to_line(use) + "\n";
  write_file(folder / "examples.jsonl", lines);
  const std::shared_ptr<Llama> policy = load_llama(model, place_of(engine));
  SftConfig settings = with_weight_of_one_decision(config, train);
  // Going back restores answers that a model learned to decline; where none declines there is nothing to
  // restore.
  if (made.openings.empty()) settings.before_share = 0;
  const Json trained =
      train_sft(*policy, train, held_out, settings, seed, folder, step_progress("sft", progress));
  const std::filesystem::path checkpoint = fresh_checkpoint(folder);
  const std::string weights = save_llama(*policy, checkpoint);
  const Json adapter = keep_adapter(*policy, model, folder);
  chat.save(checkpoint);

  Json figures = {{"records", records.size()}, {"train", answers},          {"held_out", held_out.size()},
                  {"used", made.used},         {"left_out", made.left_out}, {"weights_sha256", weights}};
  figures["declining_openings"] = Json::array();
  for (const std::vector<int>& opening : made.openings)
    figures["declining_openings"].push_back(chat.tokenizer().decode(opening));
  if (!turns.empty()) figures["judge_turns"] = judged;
  if (!adapter.is_null()) figures["adapter"] = adapter;
  figures.update(trained);
  return figures;
}

}  // namespace cai
