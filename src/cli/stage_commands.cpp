// Each stage as a command of its own.
#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/stop.hpp"
#include "cai/base/text.hpp"
#include "cai/cli/single_stage.hpp"
#include "cai/data/cases.hpp"
#include "cai/data/prompt.hpp"
#include "cai/data/run_folder.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/hybrid.hpp"
#include "cai/pipeline/judging.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/candidates.hpp"
#include "cai/stages/critique.hpp"
#include "cai/stages/dpo.hpp"
#include "cai/stages/exam.hpp"
#include "cai/stages/gates.hpp"
#include "cai/stages/generate.hpp"
#include "cai/stages/label.hpp"
#include "cai/stages/ppo.hpp"
#include "cai/stages/prompts.hpp"
#include "cai/stages/revise.hpp"
#include "cai/stages/reward.hpp"
#include "cai/stages/sft.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

int run_prompts(SingleStage& s) {
  const std::vector<Prompt> all = prompts_of(s.use_prompts(), "--prompts");
  const bool expands = s.config.prompts.expand > 0;
  if (expands) s.use_model();
  s.recorded([&](RecordWriter& out) {
    const std::unique_ptr<Speaker> model = expands ? s.speaker() : nullptr;
    return prompts(s.config.prompts, all, {}, out, model.get(), s.random(), s.progress);
  });
  return kDone;
}

int run_generate(SingleStage& s) {
  const std::vector<Json> records = s.use_prompts();
  s.use_model();
  s.recorded([&](RecordWriter& out) {
    return generate(s.config.generate, records, out, *s.speaker(), s.random(), s.progress);
  });
  return kDone;
}

int run_critique(SingleStage& s) {
  const std::vector<Json> records = s.use_input("records");
  const Constitution& constitution = s.use_constitution();
  s.use_model();
  const long round = positive_integer(s.arguments.round, "--round");
  s.facts["round"] = round;
  s.recorded([&](RecordWriter& out) {
    return critique(s.config.critique, constitution, static_cast<int>(round), records, out, *s.speaker(),
                    s.random(round), s.progress);
  });
  return kDone;
}

int run_revise(SingleStage& s) {
  const std::vector<Json> records = s.use_input("records");
  const Constitution& constitution = s.use_constitution();
  s.use_model();
  const long round =
      records.empty() ? 1
                      : static_cast<long>(std::clamp(optional_number(records.front(), "round", 1), 1.0, 1e6));
  s.facts["round"] = round;
  s.recorded([&](RecordWriter& out) {
    return revise(s.config.revise, constitution, records, out, *s.speaker(), s.random(round), s.progress);
  });
  return kDone;
}

int run_sft(SingleStage& s) {
  const std::vector<Json> records = s.use_input("records");
  s.use_model();
  if (s.config.sft.judge_turns > 0) s.use_constitution();
  const Brought brought = s.use_brought();
  const std::vector<JudgeTurn> turns =
      judge_turns_of(s.config, s.constitution, records, brought, s.random().derive("judge"));
  if (!turns.empty()) s.facts["judge_turns"] = judge_turns_facts(s.config, s.constitution, brought);
  const std::vector<Json> edited = with_edits(records, brought.people);
  s.trained([&] {
    return sft(s.config.sft, s.config.engine, edited, turns, s.model, s.arguments.out, s.seed(), s.progress);
  });
  return kDone;
}

int run_exam(SingleStage& s) {
  const Constitution& constitution = s.use_constitution();
  const std::vector<Json> people = s.use("exam_pairs", human_pairs_of(s.config.label.exam_pairs));
  std::unique_ptr<Speaker> loaded;
  std::vector<Examinee> examinees;
  if (s.config.label.feedback == "self") {
    for (const EvalModel& model : s.use_models())
      examinees.push_back({model.name, [&, model]() -> Speaker& {
                             return loaded.reset(), *(loaded = local_speaker(model.path, s.config.engine));
                           }});
  } else {
    s.use_judge();
    examinees.push_back({"judge", [&]() -> Speaker& { return *(loaded = s.judge(false)); }});
  }
  s.recorded([&](RecordWriter& out) {
    return exam(s.config.label, constitution, people, examinees, out, s.random());
  });
  return kDone;
}

int run_candidates(SingleStage& s) {
  const Arguments& a = s.arguments;
  const std::vector<Json> records = s.use_prompts();
  const Constitution& constitution = s.use_constitution();
  s.use_model();
  s.facts["contrast"] = a.contrast;
  if (!a.initial.empty() && !a.contrast) throw UsageError("--initial is about --contrast");
  const fs::path first = a.initial.empty() ? fs::path() : find_model(a.initial);
  if (!first.empty()) s.facts["initial"] = model_fingerprint(first);
  s.recorded([&](RecordWriter& out) {
    const std::unique_ptr<Speaker> initial = first.empty() ? nullptr : local_speaker(first, s.config.engine);
    return candidates(s.config.candidates, constitution, a.contrast, records, out, *s.speaker(),
                      initial.get(), s.random(), s.progress);
  });
  return kDone;
}

bool have_sides(const std::vector<Json>& pairs) {
  return !pairs.empty() && std::all_of(pairs.begin(), pairs.end(), [](const Json& pair) {
    if (!pair.contains("candidates") || !pair["candidates"].is_array() || pair["candidates"].empty())
      return false;
    const Json& first = pair["candidates"].front();
    return first.is_object() && first.contains("side") && first["side"] != "plain";
  });
}

int run_label(SingleStage& s) {
  const std::vector<Json> pairs = s.use_pairs();
  const People people = s.use_people();
  const Constitution& constitution = s.use_constitution();
  LabelConfig& config = s.config.label;
  if (is_endpoint(s.config.model)) config.feedback = s.config.model;
  const bool is_named = config.feedback != "self";
  const bool contrast =
      (config.method == "contrast" || (config.method == "auto" && !is_named)) && have_sides(pairs);
  if (config.method == "contrast" && !contrast)
    throw UsageError("label.method contrast needs pairs from cai candidates --contrast");
  if (contrast && is_endpoint(config.feedback))
    throw UsageError("label.method contrast asks no endpoint; accepted with an endpoint: auto, choice");
  s.use_judge();
  s.recorded([&](RecordWriter& out) {
    return label(config, constitution, contrast, pairs, people, out, *s.judge(contrast), s.random(),
                 s.progress);
  });
  return kDone;
}

int run_reward(SingleStage& s) {
  const std::vector<Json> records = s.use_input("labels");
  const People people = s.use_people();
  const std::vector<Json> human_pairs = s.use_human_pairs();
  s.use_model();
  s.trained([&] {
    return reward(s.config.reward, s.config.engine, records, s.config.hybrid, human_pairs, people, s.model,
                  s.arguments.out, s.seed(), s.progress);
  });
  return kDone;
}

int run_dpo(SingleStage& s) {
  const std::vector<Json> records = s.use_input("labels");
  const People people = s.use_people();
  const std::vector<Json> human_pairs = s.use_human_pairs();
  s.use_model();
  s.trained([&] {
    return dpo(s.config.dpo, s.config.engine, records, s.config.hybrid, human_pairs, people, s.model,
               s.arguments.out, s.seed(), s.progress);
  });
  return kDone;
}

int run_ppo(SingleStage& s) {
  const std::vector<Json> records = s.use_prompts();
  s.use_model();
  const fs::path reward_model = find_model(s.arguments.reward);
  s.facts["reward"] = model_fingerprint(reward_model);
  s.trained([&] {
    return ppo(s.config.ppo, s.config.engine, records, s.model, reward_model, s.arguments.out, s.seed(),
               s.progress);
  });
  return kDone;
}

// Prompts that are named are asked, all of them, unless --set says how many.
void ask_all(SingleStage& s, std::size_t prompts) {
  EvalConfig& config = s.config.eval;
  const std::vector<std::string>& sets = s.arguments.sets;
  for (const auto& [field, most] : {std::pair("eval.red_team=", &config.red_team),
                                    {"eval.borderline=", &config.borderline},
                                    {"eval.ordinary=", &config.ordinary}})
    if (std::none_of(sets.begin(), sets.end(),
                     [&, field = field](const std::string& set) { return set.starts_with(field); }))
      *most = static_cast<long>(prompts);
}

// The run that a model comes from, or "".
fs::path run_of(fs::path model) {
  std::error_code ignored;
  for (fs::path folder = fs::absolute(model); folder.has_relative_path(); folder = folder.parent_path())
    if (fs::exists(folder / "run.json", ignored)) return folder;
  return {};
}

std::set<fs::path> runs_of(const std::vector<EvalModel>& models) {
  std::set<fs::path> runs;
  for (const EvalModel& model : models)
    runs.insert(run_of(model.path));
  runs.erase(fs::path());
  return runs;
}

// What these runs trained on, by its words.
std::set<std::string> trained_prompts(const std::set<fs::path>& runs) {
  std::set<std::string> prompts;
  for (const fs::path& run : runs)
    for (const fs::path& folder : stage_folders(run, "prompts"))
      for (const Json& record : read_records(folder))
        prompts.insert(trim(optional_text(record, "prompt")));
  return prompts;
}

// Gives records without a split the one that `cai train` draws for the same set.
void draw_splits_of(std::vector<Json>& records) {
  std::vector<Prompt> prompts;
  for (std::size_t i = 0; i < records.size(); ++i)
    prompts.push_back(
        {.id = record_id(records[i], i), .text = "", .split = optional_text(records[i], "split")});
  draw_splits(prompts);
  for (std::size_t i = 0; i < records.size(); ++i)
    records[i]["split"] = prompts[i].split;
}

// Leaves out what the models may have been trained on, and says so. Where no model is of a run, nothing is
// known of training: then only prompts with the split "train" are left out.
std::vector<Json> held_out_of(const Arguments& a, std::vector<Json> records,
                              const std::vector<EvalModel>& models) {
  const std::size_t all = records.size();
  const std::set<fs::path> runs = runs_of(models);
  const bool are_drawn = !runs.empty() && std::any_of(records.begin(), records.end(), [](const Json& r) {
    return optional_text(r, "split").empty();
  });
  if (are_drawn) draw_splits_of(records);
  const std::set<std::string> trained = trained_prompts(runs);
  const auto is_trained = [&](const Json& r) { return trained.contains(trim(optional_text(r, "prompt"))); };
  const auto is_train = [](const Json& r) { return optional_text(r, "split") == "train"; };
  const long known = std::count_if(records.begin(), records.end(), is_trained),
             train = std::count_if(records.begin(), records.end(), is_train);
  if (a.include_train) {
    if (known > 0)
      log_warning(
          std::to_string(known) + " of the " + std::to_string(all) +
          " prompts were trained on by a run of these models: their figures say little about other prompts");
    return records;
  }
  std::erase_if(records, [&](const Json& r) { return is_train(r) || is_trained(r); });
  const std::string why =
      std::to_string(train) + (are_drawn ? " prompts of the split \"train\" (drawn by hash, as cai train "
                                           "draws it, where a prompt names none)"
                                         : " prompts of the split \"train\"");
  if (records.empty() && all > 0)
    throw InputError("eval: none of the " + std::to_string(all) + " prompts is held out: " + why + ", " +
                     std::to_string(known) +
                     " trained on by these models' runs; --include-train asks them all the same");
  if (!a.prompts.empty() && train > 0) log_warning(why + " are not asked; --include-train asks them too");
  if (known > 0)
    log_warning(std::to_string(known) + " prompts that a run of these models trained on are not asked");
  return records;
}

// --best-of N --reward DIR: one more model, the last one's samples chosen by the reward model.
void add_best_of(SingleStage& s, std::vector<EvalModel>& models) {
  const Arguments& a = s.arguments;
  if (a.best_of.empty() != a.reward.empty()) throw UsageError("--best-of and --reward belong together");
  if (a.best_of.empty()) return;
  int n = 0;
  const auto [end, error] = std::from_chars(a.best_of.data(), a.best_of.data() + a.best_of.size(), n);
  if (error != std::errc() || end != a.best_of.data() + a.best_of.size() || n < 2 || n > 1024)
    throw UsageError("--best-of: " + in_quotes(a.best_of) + "; accepted: 2 to 1024");
  EvalModel chosen = models.back();
  chosen.name += ", best of " + a.best_of, chosen.reward = find_model(a.reward), chosen.best_of = n;
  s.facts["best of"] = {n, model_fingerprint(chosen.reward)};
  models.push_back(std::move(chosen));
}

int run_eval(SingleStage& s) {
  const Arguments& a = s.arguments;
  EvalConfig& config = s.config.eval;
  std::vector<EvalModel> models = s.use_models();
  std::vector<Json> records = held_out_of(a, read_prompt_records(s.config), models);
  if (!a.prompts.empty()) ask_all(s, records.size());
  records = s.use("prompts", std::move(records));
  const Constitution& constitution = s.use_constitution();
  const Suites suites = suites_of(config);
  s.facts["suites"] = suites.sha256;
  for (const std::string& gate : config.gates)
    check_gate(gate, config, constitution, records, suites);
  add_best_of(s, models);
  const Json figures = s.recorded(
      [&](RecordWriter& out) {
        return eval(config, constitution, records, suites, {}, models, s.config.engine, a.out, out,
                    s.random(), s.progress);
      },
      {"failures.jsonl"});
  if (!a.failures.empty()) {
    const long added =
        add_failures(a.failures, read_records(fs::path(a.out) / "failures.jsonl"), constitution);
    log_info(a.failures + ": " + std::to_string(added) + " new cases");
  }
  const std::vector<std::string> failed = failed_gates(config.gates, figures);
  for (const std::string& gate : failed)
    log_error("gate failed: " + gate);
  return failed.empty() ? kDone : kGateFailed;
}

}  // namespace

int run_stage_command(const Arguments& a) {
  static const std::map<std::string, int (*)(SingleStage&)> stages = {{"prompts", run_prompts},
                                                                      {"generate", run_generate},
                                                                      {"critique", run_critique},
                                                                      {"revise", run_revise},
                                                                      {"sft", run_sft},
                                                                      {"exam", run_exam},
                                                                      {"candidates", run_candidates},
                                                                      {"label", run_label},
                                                                      {"reward", run_reward},
                                                                      {"dpo", run_dpo},
                                                                      {"ppo", run_ppo},
                                                                      {"eval", run_eval},
                                                                      {"score", run_score}};
  try {
    SingleStage stage(a);
    return stages.at(a.command)(stage);
  } catch (const InputError& error) {
    const std::string message = error.what();
    if (message.starts_with("record ") && !a.input.empty()) throw InputError(a.input, 0, message);
    throw;
  } catch (const Stopped& stopped) {
    log_warning(std::string(stopped.what()) + "; what was written to " + a.out +
                " is kept: the same command goes on from there");
    return kStopped;
  }
}

}  // namespace cai
