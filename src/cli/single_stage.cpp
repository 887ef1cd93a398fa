#include "cai/cli/single_stage.hpp"

#include <iostream>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/data/pair_import.hpp"
#include "cai/data/prompt.hpp"
#include "cai/engine/engine.hpp"
#include "cai/engine/threads.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/hybrid.hpp"
#include "cai/pipeline/inputs.hpp"
#include "cai/pipeline/plan.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/stages/asking.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

/// --out may be new, empty, or a stage's folder: nothing else is ever moved aside.
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

SingleStage::SingleStage(const Arguments& a)
    : arguments(a), config(config_of(a)), style_(progress_style(a.json, a.quiet)) {
  progress = progress_line(style_);
  check_out(a.out);
  set_threads(config.engine.threads);
}

Random SingleStage::random(long round) const {
  return Random(static_cast<std::uint64_t>(config.seed))
      .derive(std::uint64_t{1})
      .derive(arguments.command)
      .derive(static_cast<std::uint64_t>(round));
}

std::vector<Json> SingleStage::use(const std::string& what, std::vector<Json> records) {
  facts[what] = hash_of(records);
  return records;
}

std::vector<Json> SingleStage::use_input(const std::string& what) {
  return use(what, read_records(arguments.input));
}

std::vector<Json> SingleStage::use_pairs() {
  ImportedPairs pairs = read_pairs(arguments.input);
  for (const std::string& note : pairs.notes)
    log_warning(note);
  return use("pairs", std::move(pairs.records));
}

std::vector<Json> SingleStage::use_prompts() {
  return use("prompts", read_prompt_records(config));
}

std::vector<Json> SingleStage::use_human_pairs() {
  return config.hybrid.pairs.empty() ? std::vector<Json>()
                                     : use("human_pairs", human_pairs_of(config.hybrid.pairs));
}

People SingleStage::use_people() {
  if (config.hybrid.decisions.empty()) return {};
  for (const std::string& path : config.hybrid.decisions)
    facts["decisions"].push_back(hash_of(read_decisions(path)));
  return people_of(config.hybrid);
}

Brought SingleStage::use_brought() {
  Brought brought =
      read_brought(config, test_prompts(constitution), [](const std::function<void()>& read) { read(); });
  for (const std::string& note : brought.notes)
    log_warning(note);
  if (!config.hybrid.decisions.empty()) facts["decisions"] = brought.decision_hashes;
  return brought;
}

void SingleStage::use_model() {
  model = find_model(config.model);
  facts["model"] = model_fingerprint(model);
}

const Constitution& SingleStage::use_constitution() {
  constitution = read_constitution(find_shipped(config.constitution));
  facts["constitution"] = constitution.sha256;
  return constitution;
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

std::unique_ptr<Speaker> SingleStage::speaker() const {
  return local_speaker(model, config.engine);
}

void SingleStage::use_judge() {
  const std::string& feedback = config.label.feedback;
  if (feedback == "self")
    use_model();
  else if (is_endpoint(feedback))
    check_endpoint(judge_endpoint(config));
  else
    facts["judge"] = model_fingerprint(find_model(feedback));
}

std::unique_ptr<Speaker> SingleStage::judge(bool contrast) const {
  const std::string& feedback = config.label.feedback;
  const bool is_remote = is_endpoint(feedback);
  if (feedback == "self" || (is_remote && contrast)) return speaker();
  if (!is_remote) return local_speaker(find_model(feedback), config.engine);
  look_at_endpoint(judge_endpoint(config));
  return endpoint_speaker(judge_endpoint(config), fs::path(arguments.out) / "endpoint.answers");
}

std::string SingleStage::key() const {
  Json lines = Json::array();
  for (const std::string& section : {arguments.command, std::string("engine")}) {
    if (section == "score" || section == "exam") continue;
    for (const std::string& line : key_lines(config, section))
      lines.push_back(line);
  }
  if ((arguments.command == "reward" || arguments.command == "dpo") &&
      (facts.contains("decisions") || facts.contains("human_pairs"))) {
    for (const std::string& line : key_lines(config, "hybrid"))
      lines.push_back(line);
  }
  if (arguments.command == "exam") {
    for (const std::string& line : key_lines(config, "label"))
      lines.push_back(line);
  }
  if (arguments.command == "label" || arguments.command == "exam") {
    for (const std::string& line : key_lines(config, "endpoint"))
      lines.push_back(line);
  }
  return key_of({{"stage", arguments.command},
                 {"format", stage_format(arguments.command)},
                 {"seed", config.seed},
                 {"config", lines},
                 {"arithmetic", engine_arithmetic(config.engine.dtype)},
                 {"facts", facts}});
}

Json SingleStage::recorded(const std::function<Json(RecordWriter&)>& body,
                           const std::vector<std::string>& extras) {
  return finish([&] { return run_record_stage(arguments.out, arguments.command, key(), 0, extras, body); });
}

Json SingleStage::trained(const std::function<Json()>& body) {
  facts["threads"] = thread_count(config);  // sums of training are split by them
  return finish([&] { return run_training_stage(arguments.out, arguments.command, key(), 0, body); });
}

Json SingleStage::finish(const std::function<StageResult()>& stage) {
  const fs::path out = fs::absolute(fs::path(arguments.out)).lexically_normal();
  const fs::path folder = out.has_filename() ? out : out.parent_path();
  StageResult result;
  undone_by_bad_input(folder, [&] {
    create_folders(folder.parent_path());
    const FolderLock lock(folder, true);
    result = stage();
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
