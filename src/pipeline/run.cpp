#include "cai/pipeline/run.hpp"

#include <algorithm>
#include <chrono>
#include <set>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/log_sinks.hpp"
#include "cai/base/stop.hpp"
#include "cai/engine/threads.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"
#include "cai/io/records.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/plan.hpp"
#include "cai/pipeline/provenance.hpp"
#include "cai/pipeline/stage_kinds.hpp"
#include "cai/stages/gates.hpp"
#include "cai/stages/report.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

class Runner {
 public:
  Runner(RunInputs inputs, fs::path out, std::vector<fs::path> reuse, const ProgressFn& progress)
      : inputs_(std::move(inputs)),
        config_(inputs_.config),
        out_(std::move(out)),
        provenance_(inputs_, out_),
        stages_(stages_of(inputs_)),
        reuse_(std::move(reuse)),
        report_(progress),
        speakers_(config_, out_ / "endpoint.answers") {}

  RunResult run() {
    create_folders(out_);
    FolderLock lock(out_);
    provenance_.begin();
    log_to_file(out_ / "log.jsonl");
    log_info(std::to_string(stages_.size()) + " stages, seed " + std::to_string(config_.seed) +
             ", constitution " + inputs_.constitution.name + " " + inputs_.constitution.version);
    try {
      look_at_endpoints();
      for (const Stage& stage : stages_)
        make_stage(stage);
      return finish();
    } catch (const Stopped& stopped) {
      set_state("stopped");
      log_warning(std::string(stopped.what()) + " in " + current_ +
                  "; everything so far is kept. To continue: " + program_name() + " train --out " +
                  out_.string());
      return {kStopped, out_, Json()};
    } catch (const std::exception&) {
      set_state("failed");
      throw;
    }
  }

 private:
  /// The report, then the gates: whether they hold changes nothing of what was made.
  RunResult finish() {
    current_ = "report";
    const Json figures = read_manifest(out_ / stages_.back().folder)->figures;
    const std::vector<std::string> failed = failed_gates(config_.eval.gates, figures);
    provenance_.set("failed_gates", failed);
    provenance_.set("state", "done");
    const std::string page = report_html(out_, provenance_.facts(), config_.report);
    write_file(out_ / "report.html", page);
    provenance_.set("report_sha256", sha256(page));
    provenance_.save();  // last: until then the same command goes on with this run
    for (const std::string& gate : doubtful_gates(config_.eval.gates, figures))
      log_info("gate " + gate);
    for (const std::string& gate : failed)
      log_error("gate failed: " + gate);
    return {failed.empty() ? kDone : kGateFailed, out_, figures};
  }

  /// The checkpoint of a finished training stage, every file of it checked against the stage's manifest, once
  /// a process.
  fs::path checkpoint_of(const fs::path& stage) {
    if (checked_.insert(stage).second) {
      const std::vector<std::string> problems = verify_manifest(stage);
      if (!problems.empty())
        throw InputError(problems.front() + "; remove " + stage.string() +
                         " and run the same command to make it again");
    }
    return stage / "checkpoint";
  }

  void make_stage(const Stage& stage) {
    current_ = stage.folder;
    Json& entry = provenance_.begin_stage(stage);
    const double spent = entry["seconds"].get<double>();
    progress_ = [this, &stage, count = counter_of(entry)](const Progress& progress) {
      count(progress);
      Progress shown = progress;
      shown.stage = stage.folder;
      if (report_) report_(shown);
    };
    take_finished(stage);
    StageJob job = job_of(stage);
    const StageResult result = run_stage(stage_kind(stage.name), job, stage.key, spent);
    records_.clear();
    progress_ = {};
    if (!result.was_done && result.figures.contains("sentence"))
      log_info(stage.folder + ": " + result.figures["sentence"].get<std::string>());
    if (result.was_done && entry.value("state", "") == "done") return;
    entry["state"] = "done";
    entry["seconds"] = result.seconds;
    provenance_.save();
    stop_if_requested();
  }

  /// Counts a stage's progress into its entry of run.json, on top of what earlier attempts counted.
  ProgressFn counter_of(Json& entry) {
    using Clock = std::chrono::steady_clock;
    const double spent = entry["seconds"].get<double>();
    const std::int64_t tokens = entry["tokens"].get<std::int64_t>();
    return [this, &entry, spent, tokens, begin = Clock::now(),
            saved = Clock::now()](const Progress& progress) mutable {
      const Clock::time_point now = Clock::now();
      entry["seconds"] = spent + std::chrono::duration<double>(now - begin).count();
      entry["tokens"] = tokens + progress.tokens;
      entry["records"] = progress.done;
      if (now - saved <= std::chrono::seconds(5)) return;
      saved = now;
      provenance_.save();
    };
  }

  /// Takes the stage over from where it is finished already: what this run set aside, or a run to reuse.
  void take_finished(const Stage& stage) {
    const fs::path folder = out_ / stage.folder;
    std::vector<fs::path> others = set_aside_before(folder, stage.key);
    if (!others.empty() && fs::exists(folder))
      log_info(folder.string() + " is kept as " + move_aside(folder).filename().string());
    for (const fs::path& run : reuse_)
      others.push_back(run / stage.folder);
    if (!others.empty()) create_folders(folder.parent_path());
    if (const fs::path from = take_over(others, folder, stage.key); !from.empty())
      log_info(stage.folder + ": reused from " + from.string());
  }

  /// What a stage works with: the results of earlier ones.
  StageJob job_of(const Stage& stage) {
    const auto policy = [&] { return policy_at(stage); };
    return {.config = config_,
            .constitution = inputs_.constitution,
            .brought = inputs_.brought,
            .prompts = inputs_.prompts,
            .wrappers = inputs_.wrappers.attacks,
            .speakers = speakers_,
            .folder = out_ / stage.folder,
            .random = random_of_stage(config_, stage.name, stage.iteration, stage.round),
            .round = stage.round,
            .progress = progress_,
            .records = [&]() -> const std::vector<Json>& {
              return records_ = read_records(out_ / stage.inputs.front());
            },
            .model = policy,
            .reward_model = [&] { return checkpoint_of(iteration_folder(stage.iteration) / "reward"); },
            .contrast = [&] { return by_contrast(iteration_folder(stage.iteration)); },
            .initial = [&] { return &speakers_.local(inputs_.model); },
            .critic = [=, this]() -> Speaker& { return speakers_.feedback(config_.feedback, policy()); },
            .judge = [=, this](bool contrast) -> Speaker& { return speakers_.judge(policy(), contrast); },
            .examinees = [&] { return examinees(stage); },
            .evaluation = [&] { return evaluation(stage); }};
  }

  /// The policy as a stage finds it: the iteration's SL-CAI model where that is made before, else the policy
  /// that the iteration starts from.
  fs::path policy_at(const Stage& stage) {
    for (const Stage& earlier : stages_) {
      if (&earlier == &stage) break;
      if (earlier.iteration == stage.iteration && earlier.name == "sft")
        return checkpoint_of(out_ / earlier.folder);
    }
    return start_of(stage.iteration);
  }

  fs::path start_of(int iteration) {
    return iteration == 1 ? inputs_.model
                          : checkpoint_of(iteration_folder(iteration - 1) / policy_stage(config_));
  }

  std::vector<Examinee> examinees(const Stage& stage) {
    if (judge_of(config_) != "self")
      return {{"judge", [&]() -> Speaker& { return speakers_.judge(policy_at(stage), false); }}};
    // It learned since: what was it worth before?
    return {{"before", [&]() -> Speaker& { return speakers_.local(start_of(stage.iteration)); }},
            {"after", [&]() -> Speaker& { return speakers_.local(policy_at(stage)); }}};
  }

  Evaluation evaluation(const Stage& stage) {
    Evaluation result{.prompts = {}, .suites = inputs_.suites, .topics = {}, .models = {}, .judge = {}};
    for (int one = 1; one <= stage.iteration; ++one) {
      for (const Json& prompt : read_records(iteration_folder(one) / "prompts"))
        if (const std::string topic = topic_of(prompt); !topic.empty()) result.topics.insert(topic);
    }
    for (const Prompt& prompt : inputs_.prompts)
      if (prompt.split == "held-out") result.prompts.push_back(to_json(prompt));
    const std::string policy = policy_stage(config_);
    const fs::path iteration = iteration_folder(stage.iteration);
    result.models = {{"base", inputs_.model}, {"sl-cai", checkpoint_of(iteration / "sft")}};
    if (policy != "sft")
      result.models.push_back({policy == "dpo" ? "dpo" : "rl-cai", checkpoint_of(iteration / policy)});
    if (const std::string& judge = config_.eval.judge; !judge.empty())
      result.judge = [&judge, this]() -> Speaker& { return speakers_.feedback(judge, inputs_.model); };
    return result;
  }

  /// An endpoint that cannot be used is told before the first stage, not hours later; unless every stage that
  /// asks it is done.
  void look_at_endpoints() const {
    std::set<std::string> names;
    for (const Stage& stage : stages_) {
      const StageKind& kind = stage_kind(stage.name);
      if (is_made(stage)) continue;
      if (kind.asks_critic) names.insert(config_.feedback);
      if (kind.asks_judge) names.insert(judge_of(config_));
    }
    for (const std::string& name : names)
      if (is_endpoint(name)) look_at_endpoint(endpoint_at(config_, name));
  }

  bool is_made(const Stage& stage) const {
    std::vector<fs::path> places{out_};
    places.insert(places.end(), reuse_.begin(), reuse_.end());
    return std::any_of(places.begin(), places.end(), [&](const fs::path& run) {
      const std::optional<Manifest> manifest = read_manifest(run / stage.folder);
      return manifest && manifest->key == stage.key;
    });
  }

  bool by_contrast(const fs::path& iteration) const {
    std::optional<Manifest> manifest = read_manifest(iteration / "exam");
    if (!manifest || !manifest->figures.contains("method"))
      throw Bug("the exam left no result in " + (iteration / "exam").string());
    const bool contrast = !labels_by_choice_only(inputs_) && manifest->figures["method"] == "contrast";
    if (!contrast && judged_principles(inputs_.constitution) > 0 &&
        manifest->figures.value("below_chance", false))
      throw InputError(
          iteration.filename().string() + ": " + manifest->figures.value("sentence", "") +
          " Its answers are worse than chance, so nothing is labelled by it. Name another judge with "
          "--feedback, write a check for each principle, or end with the fine-tuned model: --set "
          "ppo.updates=0");
    return contrast;
  }

  fs::path iteration_folder(int iteration) const {
    for (const Stage& stage : stages_) {
      if (stage.iteration == iteration) return out_ / fs::path(stage.folder).parent_path();
    }
    throw Bug("no iteration " + std::to_string(iteration));
  }

  void set_state(const std::string& state) {
    provenance_.set("state", state);
    provenance_.save();
  }

  RunInputs inputs_;
  const Config& config_;
  fs::path out_;
  Provenance provenance_;
  std::vector<Stage> stages_;
  std::vector<fs::path> reuse_;
  ProgressFn report_, progress_;
  Speakers speakers_;
  std::vector<Json> records_;  // that the stage reads which runs
  std::string current_;
  std::set<fs::path> checked_;  // stages whose checkpoint was compared with its manifest
};

}  // namespace

RunResult train(const Config& config, const std::vector<fs::path>& reuse, const ProgressFn& progress,
                const TrainOptions& options) {
  for (const fs::path& run : reuse)
    if (!fs::exists(run / "run.json")) throw InputError(run.string() + ": not a run folder (no run.json)");
  RunInputs inputs = check_inputs(config);
  fs::path out = run_folder(inputs);
  inputs.config.out = out.string();
  inputs.config.engine.threads = thread_count(inputs.config);
  set_threads(inputs.config.engine.threads);
  if (!options.force) refuse_to_change(inputs, out);
  log_info((fs::exists(out / "run.json") ? "resuming " : "run folder: ") + out.string());
  tell_who_decides(inputs);
  if (options.planned) {
    std::vector<std::string> folders;
    for (const Stage& stage : stages_of(inputs))
      folders.push_back(stage.folder);
    options.planned(folders);
  }
  const RunResult result = Runner(std::move(inputs), out, reuse, progress).run();
  log_to_file({});
  return result;
}

}  // namespace cai
