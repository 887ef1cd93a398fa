#include "cai/cli/single_stage.hpp"

#include <iostream>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/data/pair_import.hpp"
#include "cai/data/prompt.hpp"
#include "cai/engine/devices.hpp"
#include "cai/engine/threads.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/hybrid.hpp"
#include "cai/pipeline/inputs.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/stages/asking.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

/// "answers/00000.jsonl (50 records)"; of a training stage its checkpoint.
std::string outputs_in(const fs::path& folder) {
  const std::optional<Manifest> manifest = read_manifest(folder);
  std::string list;
  for (const ManifestFile& file : manifest ? manifest->files : std::vector<ManifestFile>())
    if (file.records >= 0)
      list += (list.empty() ? "" : ", ") + (folder / file.file).string() + " (" +
              std::to_string(file.records) + " records)";
  if (fs::exists(folder / "checkpoint"))
    list += (list.empty() ? "" : ", ") + (folder / "checkpoint").string();
  return list.empty() ? folder.string() : list;
}

}  // namespace

void check_out(const fs::path& out) {
  if (!fs::exists(out)) return;
  if (!fs::is_directory(out)) throw UsageError("--out " + out.string() + ": is a file; a folder is expected");
  bool is_ours = false;
  for (const char* marker :
       {"manifest.json", "progress.json", "stage.json"})  // or stopped before its first file was published
    is_ours = is_ours || fs::exists(out / marker) || fs::exists(out / (std::string(marker) + ".tmp"));
  if (!is_ours && !fs::is_empty(out))
    throw UsageError("--out " + out.string() +
                     ": exists and is not a stage's folder; give a new name or an empty folder");
}

std::vector<Json> read_prompt_records(const Config& config) {
  std::vector<std::string> files = config.prompts.files;
  if (files.empty()) {
    for (const fs::path& file : shipped_prompts())
      files.push_back(file.string());
  }
  if (files.empty()) throw UsageError("no prompts: give --prompts FILE");
  std::vector<Json> records;
  for (const std::string& name : files) {
    fs::path file = find_shipped(name);
    if (fs::is_directory(file)) {
      for (Json& record : read_records(file))
        records.push_back(std::move(record));
    } else {
      std::vector<std::string> notes;
      for (const Prompt& prompt : read_prompts(file, &notes))
        records.push_back(to_json(prompt));
      for (const std::string& note : notes)
        log_warning(note);
    }
  }
  if (records.empty()) throw InputError(files.front(), 0, "holds no prompts");
  return records;
}

SingleStage::SingleStage(const Arguments& a, const StageKind& kind)
    : arguments(a),
      config(config_of(a)),
      speakers(config, fs::path(a.out) / "endpoint.answers"),
      job{.config = config,
          .constitution = constitution,
          .brought = brought,
          .prompts = prompts,
          .wrappers = wrappers,
          .speakers = speakers,
          .folder = a.out,
          .random = random_of_stage(config, kind.name, 1, 0)},
      kind_(kind),
      style_(progress_style(a.json, a.quiet)) {
  job.progress = progress_line(style_);
  job.records = [this]() -> const std::vector<Json>& { return records; };
  job.model = [this] { return model; };
  job.critic = [this]() -> Speaker& { return critic(); };
  job.judge = [this](bool contrast) -> Speaker& { return judge(contrast); };
  check_out(a.out);
  place_of(config.engine);
  set_threads(config.engine.threads);
}

void SingleStage::use(const std::string& what, std::vector<Json> given) {
  facts[what] = hash_of(given);
  records = std::move(given);
}

void SingleStage::use_input(const std::string& what) {
  use(what, read_records(arguments.input));
}

void SingleStage::use_pairs() {
  ImportedPairs pairs = read_pairs(arguments.input);
  for (const std::string& note : pairs.notes)
    log_warning(note);
  use("pairs", std::move(pairs.records));
}

void SingleStage::use_prompts() {
  use("prompts", read_prompt_records(config));
}

void SingleStage::use_human_pairs() {
  if (config.hybrid.pairs.empty()) return;
  brought.pairs.records = human_pairs_of(config.hybrid.pairs);
  facts["human_pairs"] = hash_of(brought.pairs.records);
}

void SingleStage::use_people() {
  if (config.hybrid.decisions.empty()) return;
  for (const std::string& path : config.hybrid.decisions)
    facts["decisions"].push_back(hash_of(read_decisions(path)));
  brought.people = people_of(config.hybrid);
}

void SingleStage::use_brought() {
  brought =
      read_brought(config, test_prompts(constitution), [](const std::function<void()>& read) { read(); });
  for (const std::string& note : brought.notes)
    log_warning(note);
  if (!config.hybrid.decisions.empty()) facts["decisions"] = brought.decision_hashes;
}

void SingleStage::use_round(long round) {
  facts["round"] = round;
  job.round = static_cast<int>(round);
  job.random = random_of_stage(config, kind_.name, 1, job.round);
}

void SingleStage::use_model() {
  model = find_model(config.model);
  facts["model"] = model_fingerprint(model);
}

void SingleStage::use_constitution() {
  constitution = read_constitution(find_shipped(config.constitution));
  facts["constitution"] = constitution.sha256;
}

std::vector<EvalModel> SingleStage::use_models() {
  std::vector<EvalModel> models;
  for (const std::string& given : arguments.models) {
    std::size_t equals = given.find('=');
    bool is_named = equals != std::string::npos && equals > 0 && !fs::exists(given);
    std::string name = is_named         ? given.substr(0, equals)
                       : models.empty() ? "base"
                                        : "model-" + std::to_string(models.size() + 1);
    for (const EvalModel& other : models) {
      if (other.name == name) throw UsageError("--model: the name " + in_quotes(name) + " is given twice");
    }
    models.push_back({name, find_model(is_named ? given.substr(equals + 1) : given)});
    facts["model " + name] = model_fingerprint(models.back().path);
  }
  return models;
}

void SingleStage::use_feedback(const std::string& feedback) {
  if (feedback == "self")
    use_model();
  else if (is_endpoint(feedback))
    check_endpoint(endpoint_at(config, feedback));
  else
    facts["judge"] = model_fingerprint(find_model(feedback));
}

Speaker& SingleStage::critic() {
  if (is_endpoint(config.feedback)) look_at_endpoint(endpoint_at(config, config.feedback));
  return speakers.feedback(config.feedback, model);
}

Speaker& SingleStage::judge(bool contrast) {
  const std::string& name = judge_of(config);
  if (is_endpoint(name) && !contrast) look_at_endpoint(endpoint_at(config, name));
  return speakers.judge(model, contrast);
}

Json SingleStage::run() {
  const fs::path out = fs::absolute(fs::path(arguments.out)).lexically_normal();
  const fs::path folder = out.has_filename() ? out : out.parent_path();
  const std::string key = key_of(ingredients_alone(kind_, config, facts));
  StageResult result;
  undone_by_bad_input(folder, [&] {
    create_folders(folder.parent_path());
    const FolderLock lock(folder, true);
    result = run_stage(kind_, job, key, 0);
  });
  end_progress_line(style_);
  if (result.was_done) log_info(arguments.out + " holds this already; nothing to do");
  if (!arguments.json && arguments.command == "eval")
    print_measures(result.figures);
  else
    print_figures(result.figures, arguments.json);
  if (!arguments.json) std::cout << "\nwrote " << printable(outputs_in(arguments.out)) << std::endl;
  return result.figures;
}

}  // namespace cai
