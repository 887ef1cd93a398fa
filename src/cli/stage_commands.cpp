// Each stage as a command of its own, and score.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/random.hpp"
#include "cai/base/statistics.hpp"
#include "cai/base/stop.hpp"
#include "cai/base/text.hpp"
#include "cai/cli/commands.hpp"
#include "cai/cli/progress_line.hpp"
#include "cai/data/cases.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/pair_import.hpp"
#include "cai/data/prompt.hpp"
#include "cai/engine/engine.hpp"
#include "cai/engine/threads.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"
#include "cai/io/records.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/hybrid.hpp"
#include "cai/pipeline/judging.hpp"
#include "cai/pipeline/plan.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/candidates.hpp"
#include "cai/stages/critique.hpp"
#include "cai/stages/dpo.hpp"
#include "cai/stages/eval.hpp"
#include "cai/stages/exam.hpp"
#include "cai/stages/figures.hpp"
#include "cai/stages/generate.hpp"
#include "cai/stages/label.hpp"
#include "cai/stages/ppo.hpp"
#include "cai/stages/prompts.hpp"
#include "cai/stages/revise.hpp"
#include "cai/stages/reward.hpp"
#include "cai/stages/sft.hpp"
#include "cai/stages/training.hpp"
#include "cai/text/chat.hpp"
#include "cai/text/tokenizer.hpp"
#include "cai/train/train.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

/// Prompts of files, or records of folders, as records.
std::vector<Json> read_prompt_records(const Config& config) {
  std::vector<std::string> files = config.prompts.files;
  if (files.empty()) {
    for (const fs::path& file : shipped_prompts()) files.push_back(file.string());
  }
  if (files.empty()) throw UsageError("no prompts: give --prompts FILE");
  std::vector<Json> records;
  for (const std::string& name : files) {
    fs::path file = find_shipped(name);
    if (fs::is_directory(file)) {
      for (Json& record : read_records(file)) records.push_back(std::move(record));
    } else {
      for (const Prompt& prompt : read_prompts(file)) records.push_back(to_json(prompt));
    }
  }
  if (records.empty()) throw InputError(files.front(), 0, "holds no prompts");
  return records;
}

/// --out may be new, empty, or a stage's folder: nothing else is ever moved aside.
void check_out(const fs::path& out) {
  if (!fs::exists(out)) return;
  if (!fs::is_directory(out)) throw UsageError("--out " + out.string() + ": is a file; a folder is expected");
  bool is_ours = false;
  for (const char* marker : {"manifest.json", "progress.json", "stage.json"})  // or stopped before its first file was published
    is_ours = is_ours || fs::exists(out / marker) || fs::exists(out / (std::string(marker) + ".tmp"));
  if (!is_ours && !fs::is_empty(out))
    throw UsageError("--out " + out.string() + ": exists and is not a stage's folder; give a new name or an empty folder");
}

/// One stage run by itself: its config, and what its key is made of.
class SingleStage {
 public:
  explicit SingleStage(const Arguments& a)
      : a_(a), config_(config_of(a)), style_(progress_style(a.json, a.quiet)), progress_(progress_line(style_)) {
    check_out(a.out);
    set_threads(config_.engine.threads);
  }

  int run() {
    const std::string& name = a_.command;
    const Random random = Random(static_cast<std::uint64_t>(config_.seed)).derive(std::uint64_t{1}).derive(name);
    auto of_round = [&](long round) { return random.derive(static_cast<std::uint64_t>(round)); };
    const std::uint64_t seed = of_round(0).next();
    if (name == "prompts") {
      std::vector<Prompt> all;
      for (const Json& record : use("prompts", read_prompt_records(config_))) all.push_back(prompt_of(record, all.size()));
      bool expands = config_.prompts.expand > 0;
      if (expands) use_model();
      return recorded([&](RecordWriter& out) {
        std::unique_ptr<Speaker> model = expands ? speaker() : nullptr;
        return prompts(config_.prompts, all, out, model.get(), of_round(0), progress_);
      });
    }
    if (name == "generate") {
      std::vector<Json> records = use("prompts", read_prompt_records(config_));
      use_model();
      return recorded([&](RecordWriter& out) { return generate(config_.generate, records, out, *speaker(), of_round(0), progress_); });
    }
    if (name == "critique" || name == "revise") {
      std::vector<Json> records = use("records", read_records(a_.input));
      const Constitution& constitution = use_constitution();
      use_model();
      long round = name == "critique" ? positive_integer(a_.round, "--round") : records.empty() ? 1 : static_cast<long>(std::clamp(optional_number(records.front(), "round", 1), 1.0, 1e6));
      facts_["round"] = round;
      return recorded([&](RecordWriter& out) {
        if (name == "critique")
          return critique(config_.critique, constitution, static_cast<int>(round), records, out, *speaker(), of_round(round), progress_);
        return revise(config_.revise, constitution, records, out, *speaker(), of_round(round), progress_);
      });
    }
    if (name == "sft") {
      std::vector<Json> records = use("records", read_records(a_.input));
      use_model();
      const std::vector<JudgeTurn> turns = judge_turns_of(config_, config_.sft.judge_turns > 0 ? use_constitution() : constitution_, records, of_round(0).derive("judge"));
      if (!turns.empty()) facts_["judge_turns"] = judge_turns_facts(config_, constitution_);
      const std::vector<Json> edited = with_edits(records, use_people());
      return trained([&] { return sft(config_.sft, config_.engine, edited, turns, model_, a_.out, seed, progress_); });
    }
    if (name == "exam") return take_exam(of_round(0));
    if (name == "candidates") {
      std::vector<Json> records = use("prompts", read_prompt_records(config_));
      const Constitution& constitution = use_constitution();
      use_model();
      facts_["contrast"] = a_.contrast;
      if (!a_.initial.empty() && !a_.contrast) throw UsageError("--initial is about --contrast");
      const fs::path first = a_.initial.empty() ? fs::path() : find_model(a_.initial);
      if (!first.empty()) facts_["initial"] = model_fingerprint(first);
      return recorded([&](RecordWriter& out) {
        const std::unique_ptr<Speaker> initial = first.empty() ? nullptr : local_speaker(first, config_.engine);
        return candidates(config_.candidates, constitution, a_.contrast, records, out, *speaker(), initial.get(), of_round(0), progress_);
      });
    }
    if (name == "label") {
      std::vector<Json> pairs = use("pairs", pairs_of_input());
      const People people = use_people();
      const Constitution& constitution = use_constitution();
      if (config_.model.starts_with("http")) config_.label.feedback = config_.model;
      bool contrast = config_.label.method != "choice" && have_sides(pairs);
      if (config_.label.method == "contrast" && !contrast)
        throw UsageError("label.method contrast needs pairs from cai candidates --contrast");
      const bool asks_endpoint = !contrast && config_.label.feedback.starts_with("http");
      if (asks_endpoint) check_endpoint(endpoint());
      else use_model();
      return recorded([&](RecordWriter& out) {
        return label(config_.label, constitution, contrast, pairs, people, out, *judge(contrast), of_round(0), progress_);
      });
    }
    if (name == "reward") {
      std::vector<Json> records = use("labels", read_records(a_.input));
      const People people = use_people();
      const std::vector<Json> human_pairs = config_.hybrid.pairs.empty() ? std::vector<Json>() : use("human_pairs", human_pairs_of(config_.hybrid.pairs));
      use_model();
      return trained([&] { return reward(config_.reward, config_.engine, records, config_.hybrid, human_pairs, people, model_, a_.out, seed, progress_); });
    }
    if (name == "dpo") {
      std::vector<Json> records = use("labels", read_records(a_.input));
      const People people = use_people();
      const std::vector<Json> human_pairs = config_.hybrid.pairs.empty() ? std::vector<Json>() : use("human_pairs", human_pairs_of(config_.hybrid.pairs));
      use_model();
      return trained([&] { return dpo(config_.dpo, config_.engine, records, config_.hybrid, human_pairs, people, model_, a_.out, seed, progress_); });
    }
    if (name == "ppo") {
      std::vector<Json> records = use("prompts", read_prompt_records(config_));
      use_model();
      fs::path reward_model = find_model(a_.reward);
      facts_["reward"] = model_fingerprint(reward_model);
      return trained([&] { return ppo(config_.ppo, config_.engine, records, model_, reward_model, a_.out, seed, progress_); });
    }
    if (name == "eval") {
      std::vector<Json> records = read_prompt_records(config_);
      if (config_.prompts.files.empty()) std::erase_if(records, [](const Json& r) { return optional_text(r, "split") == "train"; });  // of the shipped sets
      if (!a_.prompts.empty()) ask_all(records.size());
      records = use("prompts", std::move(records));
      const Constitution& constitution = use_constitution();
      const Suites suites = suites_of(config_.eval);
      facts_["suites"] = suites.sha256;
      for (const std::string& gate : config_.eval.gates) check_gate(gate, eval_measures(suites));
      std::vector<EvalModel> models = eval_models();
      add_best_of(models);
      int code = recorded(
          [&](RecordWriter& out) {
            return eval(config_.eval, constitution, records, suites, {}, models, config_.engine, a_.out, out, of_round(0), progress_);
          },
          {"failures.jsonl"});
      if (!a_.failures.empty()) {
        const long added = add_failures(a_.failures, read_records(fs::path(a_.out) / "failures.jsonl"), constitution);
        log_info(a_.failures + ": " + std::to_string(added) + " new cases");
      }
      for (const std::string& gate : failed_gates(config_.eval.gates, figures_)) log_error("gate failed: " + gate), code = kGateFailed;
      return code;
    }
    if (name == "score") return score();
    throw Bug("no such stage: " + name);
  }

 private:
  std::vector<Json> use(const std::string& what, std::vector<Json> records) {
    facts_[what] = hash_of(records);
    return records;
  }
  std::vector<Json> pairs_of_input() const {
    ImportedPairs pairs = read_pairs(a_.input);
    if (pairs.left_out > 0) log_warning(a_.input + ": " + std::to_string(pairs.left_out) + " records hold no pair and are left out");
    return std::move(pairs.records);
  }
  People use_people() {
    if (config_.hybrid.decisions.empty()) return {};
    for (const std::string& path : config_.hybrid.decisions) facts_["decisions"].push_back(hash_of(read_decisions(path)));
    return people_of(config_.hybrid);
  }
  void use_model() {
    model_ = find_model(config_.model);
    facts_["model"] = model_fingerprint(model_);
  }
  const Constitution& use_constitution() {
    constitution_ = read_constitution(find_shipped(config_.constitution));
    facts_["constitution"] = constitution_.sha256;
    return constitution_;
  }
  std::unique_ptr<Speaker> speaker() const { return local_speaker(model_, config_.engine); }

  EndpointConfig endpoint() const {
    EndpointConfig endpoint = config_.endpoint;
    endpoint.url = config_.label.feedback;
    return endpoint;
  }

  std::unique_ptr<Speaker> judge(bool contrast) const {
    const std::string& feedback = config_.label.feedback;
    bool is_endpoint = feedback.starts_with("http");
    if (feedback == "self" || (is_endpoint && contrast)) return speaker();
    if (!is_endpoint) return local_speaker(find_model(feedback), config_.engine);
    return endpoint_speaker(endpoint(), fs::path(a_.out) / "endpoint.answers");
  }

  static Prompt prompt_of(const Json& record, std::size_t index) {
    Prompt prompt;
    prompt.id = record_id(record, index);
    prompt.text = text_field(record, "prompt", index);
    prompt.tags = tags_of(record);
    prompt.split = optional_text(record, "split");
    prompt.reference = optional_text(record, "reference");
    return prompt;
  }

  static bool have_sides(const std::vector<Json>& pairs) {
    return !pairs.empty() && std::all_of(pairs.begin(), pairs.end(), [](const Json& pair) {
      if (!pair.contains("candidates") || !pair["candidates"].is_array() || pair["candidates"].empty()) return false;
      const Json& first = pair["candidates"].front();
      return first.is_object() && first.contains("side") && first["side"] != "plain";
    });
  }

  /// Prompts that are named are asked, all of them, unless --set says how many.
  void ask_all(std::size_t prompts) {
    for (const auto& [field, most] : {std::pair("eval.red_team=", &config_.eval.red_team), std::pair("eval.borderline=", &config_.eval.borderline), std::pair("eval.ordinary=", &config_.eval.ordinary)})
      if (std::none_of(a_.sets.begin(), a_.sets.end(), [&](const std::string& set) { return set.starts_with(field); })) *most = static_cast<long>(prompts);
  }

  std::vector<EvalModel> eval_models() {
    std::vector<EvalModel> models;
    for (const std::string& given : a_.models) {
      std::size_t equals = given.find('=');
      bool is_named = equals != std::string::npos && equals > 0 && !fs::exists(given);
      std::string name = is_named ? given.substr(0, equals) : models.empty() ? "base" : "model-" + std::to_string(models.size() + 1);
      for (const EvalModel& other : models) {
        if (other.name == name) throw UsageError("--model: the name " + in_quotes(name) + " is given twice");
      }
      models.push_back({name, find_model(is_named ? given.substr(equals + 1) : given)});
      facts_["model " + name] = model_fingerprint(models.back().path);
    }
    return models;
  }

  /// --best-of N --reward DIR: one more model, the last one's samples chosen by the reward model.
  void add_best_of(std::vector<EvalModel>& models) {
    if (a_.best_of.empty() != a_.reward.empty()) throw UsageError("--best-of and --reward belong together");
    if (a_.best_of.empty()) return;
    int n = 0;
    const auto [end, error] = std::from_chars(a_.best_of.data(), a_.best_of.data() + a_.best_of.size(), n);
    if (error != std::errc() || end != a_.best_of.data() + a_.best_of.size() || n < 2 || n > 1024) throw UsageError("--best-of: " + in_quotes(a_.best_of) + "; accepted: 2 to 1024");
    EvalModel chosen = models.back();
    chosen.name += ", best of " + a_.best_of, chosen.reward = find_model(a_.reward), chosen.best_of = n;
    facts_["best of"] = {n, model_fingerprint(chosen.reward)};
    models.push_back(std::move(chosen));
  }

  std::string key() const {
    Json lines = Json::array();
    for (const std::string& section : {a_.command, std::string("engine")}) {
      if (section == "score" || section == "exam") continue;
      for (const std::string& line : key_lines(config_, section)) lines.push_back(line);
    }
    if ((a_.command == "reward" || a_.command == "dpo") && (facts_.contains("decisions") || facts_.contains("human_pairs"))) {
      for (const std::string& line : key_lines(config_, "hybrid")) lines.push_back(line);
    }
    if (a_.command == "exam") {
      for (const std::string& line : key_lines(config_, "label")) lines.push_back(line);
    }
    if (a_.command == "label" || a_.command == "exam") {
      for (const std::string& line : key_lines(config_, "endpoint")) lines.push_back(line);
    }
    return key_of({{"stage", a_.command}, {"seed", config_.seed}, {"config", lines}, {"arithmetic", engine_arithmetic(config_.engine.dtype)}, {"facts", facts_}});
  }

  int recorded(const std::function<Json(RecordWriter&)>& body, const std::vector<std::string>& extras = {}) {
    return locked([&] { return run_record_stage(a_.out, a_.command, key(), 0, extras, body); });
  }
  int trained(const std::function<Json()>& body) {
    facts_["threads"] = thread_count(config_);  // sums of training are split by them
    return locked([&] { return run_training_stage(a_.out, a_.command, key(), 0, body); });
  }

  int locked(const std::function<StageResult()>& stage) {
    const fs::path out = fs::absolute(fs::path(a_.out)).lexically_normal();
    const fs::path folder = out.has_filename() ? out : out.parent_path();
    StageResult result;
    undone_by_bad_input(folder, [&] {
      create_folders(folder.parent_path());
      const FolderLock lock(folder, true);
      result = stage();
    });
    return finish(result);
  }

  int finish(const StageResult& result) {
    end_progress_line(style_);
    if (result.was_done) log_info(a_.out + " holds this already; nothing to do");
    figures_ = result.figures;
    print_figures(figures_, a_.json);
    return kDone;
  }

  int take_exam(Random random) {
    const Constitution& constitution = use_constitution();
    const std::vector<Json> people = use("exam_pairs", human_pairs_of(config_.label.exam_pairs));
    std::unique_ptr<Speaker> loaded;
    std::vector<Examinee> examinees;
    if (config_.label.feedback == "self") {
      for (const EvalModel& model : eval_models())
        examinees.push_back({model.name, [&, model]() -> Speaker& { return loaded.reset(), *(loaded = local_speaker(model.path, config_.engine)); }});
    } else {
      examinees.push_back({"judge", [&]() -> Speaker& { return *(loaded = judge(false)); }});
    }
    return recorded([&](RecordWriter& out) { return exam(config_.label, constitution, people, examinees, out, random); });
  }

  int score() {
    std::vector<Json> pairs = use("pairs", pairs_of_input());
    fs::path path = find_model(a_.model());
    facts_["model"] = model_fingerprint(path);
    std::vector<std::vector<std::string>> answers;
    for (std::size_t i = 0; i < pairs.size(); ++i) answers.push_back(answers_of(pairs[i], a_.input + ": record " + std::to_string(i + 1)));
    return recorded([&](RecordWriter& out) {
      std::shared_ptr<RewardModel> model = load_reward_model(path);
      ChatTemplate chat = load_chat(path, read_model_config(path).vocabulary);
      std::vector<double> right;
      for (std::size_t i = out.already_written().size(); i < pairs.size(); ++i) {
        std::vector<std::vector<int>> sequences;
        for (const std::string& answer : answers[i]) {
          sequences.push_back(answered_tokens(chat, prompt_tokens(chat, pairs[i]["prompt"].get<std::string>()), answer, true));
        }
        std::vector<double> scores = score_rewards(*model, sequences);
        Json record = pairs[i];
        record["scores"] = scores;
        record["margin"] = scores[0] - scores[1];
        record["p"] = 1 / (1 + std::exp(-(scores[0] - scores[1])));
        out.write(i, std::move(record));
        progress_({"score", static_cast<long>(out.durable()), static_cast<long>(pairs.size()), 0, ""});
        if (stop_requested()) out.flush();
        stop_if_requested();
      }
      out.flush();
      return score_figures(a_.out, pairs.size());
    });
  }

  const Arguments& a_;
  Config config_;
  ProgressStyle style_;
  ProgressFn progress_;
  fs::path model_;
  Constitution constitution_;
  Json facts_ = Json::object();
  Json figures_;
};

}  // namespace

int run_stage_command(const Arguments& a) {
  try {
    return SingleStage(a).run();
  } catch (const InputError& error) {
    const std::string message = error.what();
    if (message.starts_with("record ") && !a.input.empty()) throw InputError(a.input, 0, message);
    throw;
  } catch (const Stopped& stopped) {
    log_warning(std::string(stopped.what()) + "; what was written to " + a.out + " is kept: the same command goes on from there");
    return kStopped;
  }
}

}  // namespace cai
