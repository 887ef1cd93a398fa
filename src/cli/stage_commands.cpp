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
#include "cai/stages/gates.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

void prepare_prompts(SingleStage& s) {
  s.use_prompts();
  s.prompts = prompts_of(s.records, "--prompts");
  const Suites wrappers = wrappers_of(s.config.prompts, suites_of(s.config.eval));
  s.wrappers = wrappers.attacks;
  if (!wrappers.sha256.empty()) s.facts["wrappers"] = wrappers.sha256;
  if (s.config.prompts.expand > 0) s.use_model();
}

void prepare_generate(SingleStage& s) {
  s.use_prompts();
  s.use_model();
}

void prepare_critique(SingleStage& s) {
  s.use_input("records");
  s.use_constitution();
  s.use_feedback(s.config.feedback);
  s.use_round(positive_integer(s.arguments.round, "--round"));
}

void prepare_revise(SingleStage& s) {
  s.use_input("records");
  s.use_constitution();
  s.use_feedback(s.config.feedback);
  const double round = s.records.empty() ? 1 : optional_number(s.records.front(), "round", 1);
  s.use_round(static_cast<long>(std::clamp(round, 1.0, 1e6)));
}

void prepare_sft(SingleStage& s) {
  s.use_input("records");
  s.use_model();
  if (s.config.sft.judge_turns > 0) s.use_constitution();
  s.use_brought();
  if (const Json turns = judge_turns_facts(s.config, s.constitution, s.brought); !turns.is_null())
    s.facts["judge_turns"] = turns;
}

void prepare_exam(SingleStage& s) {
  s.use_constitution();
  s.brought.exam_pairs.records = human_pairs_of(s.config.label.exam_pairs);
  s.facts["exam_pairs"] = hash_of(s.brought.exam_pairs.records);
  std::vector<Examinee> examinees;
  if (judge_of(s.config) == "self") {
    for (const EvalModel& model : s.use_models())
      examinees.push_back({model.name, [&s, path = model.path]() -> Speaker& {
                             s.speakers.release();  // one at a time
                             return s.speakers.local(path);
                           }});
  } else {
    s.use_feedback(judge_of(s.config));
    examinees.push_back({"judge", [&s]() -> Speaker& { return s.job.judge(false); }});
  }
  s.job.examinees = [examinees] { return examinees; };
}

void prepare_candidates(SingleStage& s) {
  const Arguments& a = s.arguments;
  s.use_prompts();
  s.use_constitution();
  s.use_model();
  s.facts["contrast"] = a.contrast;
  if (!a.initial.empty() && !a.contrast) throw UsageError("--initial needs --contrast");
  const fs::path first = a.initial.empty() ? fs::path() : find_model(a.initial);
  if (!first.empty()) s.facts["initial"] = model_fingerprint(first);
  s.job.contrast = [contrast = a.contrast] { return contrast; };
  s.job.initial = [&s, first] { return first.empty() ? nullptr : &s.speakers.local(first); };
}

bool have_sides(const std::vector<Json>& pairs) {
  return !pairs.empty() && std::all_of(pairs.begin(), pairs.end(), [](const Json& pair) {
    if (!pair.contains("candidates") || !pair["candidates"].is_array() || pair["candidates"].empty())
      return false;
    const Json& first = pair["candidates"].front();
    return first.is_object() && first.contains("side") && first["side"] != "plain";
  });
}

void prepare_label(SingleStage& s) {
  s.use_pairs();
  s.use_people();
  s.use_constitution();
  LabelConfig& config = s.config.label;
  if (is_endpoint(s.config.model)) config.feedback = s.config.model;
  const bool is_named = !config.feedback.empty() && config.feedback != "self";
  const bool contrast =
      (config.method == "contrast" || (config.method == "auto" && !is_named)) && have_sides(s.records);
  if (config.method == "contrast" && !contrast)
    throw UsageError("label.method contrast needs pairs from cai candidates --contrast");
  if (contrast && is_endpoint(judge_of(s.config)))
    throw UsageError("label.method contrast does not ask an endpoint; use auto or choice");
  s.use_feedback(judge_of(s.config));
  s.job.contrast = [contrast] { return contrast; };
}

// Of reward and dpo.
void prepare_pairs(SingleStage& s) {
  s.use_input("labels");
  s.use_people();
  s.use_human_pairs();
  s.use_model();
}

void prepare_ppo(SingleStage& s) {
  s.use_prompts();
  s.use_constitution();
  s.use_model();
  const fs::path reward_model = find_model(s.arguments.reward);
  s.facts["reward"] = model_fingerprint(reward_model);
  s.job.reward_model = [reward_model] { return reward_model; };
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
      log_warning(std::to_string(known) + " of the " + std::to_string(all) +
                  " prompts are training prompts of these models' runs: figures on them say little about "
                  "other prompts");
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
                     " trained on by these models' runs; --include-train asks them anyway");
  if (!a.prompts.empty() && train > 0) log_warning(why + " are not asked; --include-train asks them too");
  if (known > 0)
    log_warning(std::to_string(known) + " prompts are left out: a run of these models trained on them");
  return records;
}

// --best-of N --reward DIR: one more model, the last one's samples chosen by the reward model.
void add_best_of(SingleStage& s, std::vector<EvalModel>& models) {
  const Arguments& a = s.arguments;
  if (a.best_of.empty() != a.reward.empty()) throw UsageError("--best-of and --reward: give both or neither");
  if (a.best_of.empty()) return;
  int n = 0;
  const auto [end, error] = std::from_chars(a.best_of.data(), a.best_of.data() + a.best_of.size(), n);
  if (error != std::errc() || end != a.best_of.data() + a.best_of.size() || n < 2 || n > 1024)
    throw UsageError("invalid value " + in_quotes(a.best_of) + " for --best-of (expected 2 to 1024)");
  EvalModel chosen = models.back();
  chosen.name += ", best of " + a.best_of, chosen.reward = find_model(a.reward), chosen.best_of = n;
  s.facts["best of"] = {n, model_fingerprint(chosen.reward)};
  models.push_back(std::move(chosen));
}

void prepare_eval(SingleStage& s) {
  const Arguments& a = s.arguments;
  EvalConfig& config = s.config.eval;
  std::vector<EvalModel> models = s.use_models();
  std::vector<Json> held_out = held_out_of(a, read_prompt_records(s.config), models);
  if (!a.prompts.empty()) ask_all(s, held_out.size());
  s.use("prompts", std::move(held_out));
  s.use_constitution();
  const Suites suites = suites_of(config);
  s.facts["suites"] = suites.sha256;
  for (const std::string& gate : config.gates)
    check_gate(gate, config, s.constitution, s.records, suites);
  add_best_of(s, models);
  std::function<Speaker&()> judge;
  if (!config.judge.empty()) {
    s.use_feedback(config.judge);
    judge = [&s, first = models.front().path]() -> Speaker& {
      return s.speakers.feedback(s.config.eval.judge, first);
    };
  }
  s.job.evaluation = [&s, suites, models, judge] {
    return Evaluation{.prompts = s.records, .suites = suites, .topics = {}, .models = models, .judge = judge};
  };
}

// Keeps what the last model failed on, and tells the gates that it failed. Returns the exit code.
int finish_eval(const SingleStage& s, const Json& figures) {
  const Arguments& a = s.arguments;
  if (!a.failures.empty()) {
    const long added =
        add_failures(a.failures, read_records(fs::path(a.out) / "failures.jsonl"), s.constitution);
    log_info(a.failures + ": " + std::to_string(added) + " new cases");
  }
  const std::vector<std::string> failed = failed_gates(s.config.eval.gates, figures);
  for (const std::string& gate : doubtful_gates(s.config.eval.gates, figures))
    log_info("gate " + gate);
  for (const std::string& gate : failed)
    log_error("gate failed: " + gate);
  return failed.empty() ? kDone : kGateFailed;
}

// What each command reads before its stage runs.
const std::map<std::string, void (*)(SingleStage&)>& preparations() {
  static const std::map<std::string, void (*)(SingleStage&)> all = {{"prompts", prepare_prompts},
                                                                    {"generate", prepare_generate},
                                                                    {"critique", prepare_critique},
                                                                    {"revise", prepare_revise},
                                                                    {"sft", prepare_sft},
                                                                    {"exam", prepare_exam},
                                                                    {"candidates", prepare_candidates},
                                                                    {"label", prepare_label},
                                                                    {"reward", prepare_pairs},
                                                                    {"dpo", prepare_pairs},
                                                                    {"ppo", prepare_ppo},
                                                                    {"eval", prepare_eval},
                                                                    {"score", prepare_score}};
  return all;
}

}  // namespace

bool is_stage_command(const std::string& name) {
  return preparations().contains(name);
}

int run_stage_command(const Arguments& a) {
  try {
    static const StageKind score = score_stage();
    SingleStage stage(a, a.command == score.name ? score : stage_kind(a.command));
    preparations().at(a.command)(stage);
    const Json figures = stage.run();
    return a.command == "eval" ? finish_eval(stage, figures) : kDone;
  } catch (const InputError& error) {
    const std::string message = error.what();
    if (message.starts_with("record ") && !a.input.empty()) throw InputError(a.input, 0, message);
    throw;
  } catch (const Stopped& stopped) {
    log_warning(std::string(stopped.what()) + "; what was written to " + a.out +
                " is kept. Run the same command to continue");
    return kStopped;
  }
}

}  // namespace cai
