#include "cai/stages/sft.hpp"

#include <map>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/engine/engine.hpp"
#include "cai/io/file.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/clean.hpp"
#include "cai/stages/refusal.hpp"
#include "cai/stages/training.hpp"

namespace cai {
namespace {

struct Chosen {
  std::string id, prompt, answer, kind;
};

struct Selection {
  std::vector<Chosen> chosen;
  std::map<std::string, long> used;      // "revision red-team", "response ordinary", ...
  std::map<std::string, long> left_out;  // by reason
  std::vector<Json> uses;                // what became of each record, for examples.jsonl

  void leave_out(const std::string& id, const std::string& why) {
    ++left_out[why];
    uses.push_back({{"id", id}, {"use", "left-out"}, {"why", why}});
  }
};

// A policy's own answer as data: whole sentences, no refusal of a harmless request. `why` says what is wrong with one that is left out.
std::string own_answer(const Json& record, std::string& why) {
  std::string text = strip_meta(optional_text(record, "response"));
  if (optional_text(record, "finish") != "stop") text = cut_at_sentence(text);
  why = answer_problem(text, optional_text(record, "finish"));
  if (why.empty() && is_refusal(text)) why = "refusal";
  return text;
}

void add_revisions(const Json& record, const std::string& id, const std::string& prompt, const std::string& kind, Selection& s) {
  const std::string problem = record.contains("revision_problem") ? optional_text(record, "revision_problem") : "no revision";
  if (!problem.empty()) {
    s.leave_out(id, "revision " + problem);
    return;
  }
  s.chosen.push_back({id, prompt, optional_text(record, "revision"), kind});
  ++s.used["revision " + (kind.empty() ? "untagged" : kind)];
}

Selection select(const SftConfig& config, const std::vector<Json>& records) {
  Selection s;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Json& record = records[i];
    const std::string id = record_id(record, i), prompt = text_field(record, "prompt", i), kind = kind_of(record);
    const bool was_revised = record.contains("revision_problem") && optional_text(record, "revision_problem") != "none-asked";
    if (was_revised) {
      add_revisions(record, id, prompt, kind, s);
    } else if (kind == "red-team") {
      s.leave_out(id, "red-team prompt without a revision");  // the unrevised answer is what should be unlearned
    } else if (!config.keep_unrevised) {
      s.leave_out(id, "not revised");
    } else {
      std::string why;
      const std::string answer = own_answer(record, why);
      if (!why.empty()) s.leave_out(id, "response " + why);
      else s.chosen.push_back({id, prompt, answer, kind}), ++s.used["response " + (kind.empty() ? "untagged" : kind)];
    }
    if (config.revisions == "all" && record.contains("history") && record["history"].is_array())
      for (const Json& earlier : record["history"])
        if (earlier.is_object()) add_revisions(earlier, id + "#" + earlier.value("round", Json(0)).dump(), prompt, kind, s);
  }
  return s;
}

}  // namespace

Json sft(const SftConfig& config, const EngineConfig& engine, const std::vector<Json>& records, const std::filesystem::path& model, const std::filesystem::path& folder,
         std::uint64_t seed, const ProgressFn& progress) {
  Selection selection = select(config, records);
  const ChatTemplate chat = load_chat(model, read_model_config(model).vocabulary);
  std::vector<TrainExample> examples;
  for (const Chosen& one : selection.chosen) {
    TrainExample e{.id = one.id};
    const std::vector<int> prompt = prompt_tokens(chat, one.prompt);
    e.tokens = answered_tokens(chat, prompt, one.answer, true);
    e.prompt_tokens = static_cast<int>(prompt.size());
    if (static_cast<long>(e.tokens.size()) > config.max_tokens) selection.leave_out(one.id, "longer than sft.max_tokens");
    else examples.push_back(std::move(e));
  }
  if (examples.empty()) throw InputError("sft: none of the " + std::to_string(records.size()) + " records is fit to learn from");

  const std::vector<bool> is_held_out = draw_held_out(examples.size(), config.held_out, seed);
  std::string lines;
  for (std::size_t i = 0; i < examples.size(); ++i) selection.uses.push_back({{"id", examples[i].id}, {"use", is_held_out[i] ? "held-out" : "train"}, {"why", ""}});
  for (const Json& use : selection.uses) lines += to_line(use) + "\n";
  write_file(folder / "examples.jsonl", lines);
  std::vector<TrainExample> train, held_out;
  for (std::size_t i = 0; i < examples.size(); ++i) (is_held_out[i] ? held_out : train).push_back(std::move(examples[i]));
  const std::shared_ptr<Llama> policy = load_llama(model, uses_bfloat16(engine.dtype));
  const Json trained = train_sft(*policy, train, held_out, config, seed, folder, step_progress("sft", progress));
  const std::filesystem::path checkpoint = fresh_checkpoint(folder);
  const std::string weights = save_llama(*policy, checkpoint);
  chat.tokenizer().save(checkpoint);

  Json figures = {{"records", records.size()}, {"train", train.size()}, {"held_out", held_out.size()}, {"used", selection.used},
                  {"left_out", selection.left_out}, {"weights_sha256", weights}};
  figures.update(trained);
  return figures;
}

}  // namespace cai
