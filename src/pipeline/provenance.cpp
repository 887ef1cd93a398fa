#include "cai/pipeline/provenance.hpp"

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/config/config.hpp"
#include "cai/engine/threads.hpp"
#include "cai/io/file.hpp"
#include "cai/pipeline/snapshots.hpp"
#include "cai/pipeline/version.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

/// Whether the file says the same already: then it keeps where its values first came from.
bool holds_config(const fs::path& file, const Config& config) {
  if (!fs::exists(file)) return false;
  try {
    return to_yaml(load_config(file, {}), false) == to_yaml(config, false);
  } catch (const InputError&) {
    return false;
  }
}

void warn_if_changed(const std::string& what, const Json& before, const Json& now) {
  if (!before.is_object() || !before.contains("sha256") || before["sha256"] == now["sha256"]) return;
  const auto first_digits = [](const Json& one) { return one["sha256"].dump().substr(1, 12) + "..."; };
  log_warning(what + " changed since this run began (SHA-256 " + first_digits(before) + " -> " +
              first_digits(now) + "); stages that depend on it run again");
}

Json facts_of_prompts(const RunInputs& inputs) {
  Json facts = Json::array();
  const std::vector<std::string> copies = prompt_copies(inputs.prompt_files);
  for (std::size_t i = 0; i < copies.size(); ++i) {
    const PromptFile& file = inputs.prompt_files[i];
    facts.push_back({{"file", file.path.filename().string()},
                     {"copy", copies[i]},
                     {"sha256", file.sha256},
                     {"prompts", file.prompts}});
  }
  return facts;
}

Json facts_of_program() {
  Json facts = build_facts();
  facts["torch"] = torch_version();
  return facts;
}

}  // namespace

void refuse_to_change(const RunInputs& inputs, const fs::path& out) {
  Json facts;
  try {
    facts = read_run_json(out);
  } catch (const InputError&) {  // told by what follows
    return;
  }
  if (facts.value("state", "") != "done") return;
  for (const PlanStep& step : plan_of(inputs, out).steps) {
    if (step.state != "changed") continue;
    throw UsageError(out.string() + ": this run is finished, and " + step.folder + " would run again (" +
                     step.why + "). Use --out NEW with --reuse " + out.string() +
                     " to keep it, or --force to change it");
  }
}

void tell_who_decides(const RunInputs& inputs) {
  const long all = static_cast<long>(inputs.constitution.principles.size());
  const long judged = judged_principles(inputs.constitution);
  const std::string& feedback = inputs.config.feedback;
  const std::string model = feedback == "self" ? "the model itself" : feedback;
  std::string line =
      std::to_string(all - judged) + " of " + std::to_string(all) + " principles are verified by a program";
  if (judged > 0) line += ", " + std::to_string(judged) + " are judged by " + model;
  log_info(line + "; answers are criticised and revised by " + model);
}

Provenance::Provenance(const RunInputs& inputs, fs::path out)
    : inputs_(inputs),
      out_(std::move(out)),
      model_{
          {"name", inputs.config.model}, {"sha256", inputs.model_sha256}, {"parameters", inputs.parameters}},
      constitution_{{"name", inputs.constitution.name},
                    {"version", inputs.constitution.version},
                    {"sha256", inputs.constitution.sha256}},
      prompts_(facts_of_prompts(inputs)) {}

void Provenance::begin() {
  read_earlier();
  remove_unpublished(out_);
  warn_of_changes();
  const bool has_stages = facts_.contains("stages") && facts_["stages"].is_object();
  const Json stages = has_stages ? facts_["stages"] : Json::object();
  facts_ = {{"state", "running"},
            {"cai", facts_of_program()},
            {"machine", machine_facts()},
            {"seed", inputs_.config.seed},
            {"threads", inputs_.config.engine.threads},
            {"config_sha256", fingerprint()},
            {"model", model_},
            {"constitution", constitution_},
            {"prompts", prompts_},
            {"stages", stages}};
  if (!inputs_.brought.left_out.empty()) facts_["left_out"] = inputs_.brought.left_out;
  save();  // first: it marks the folder as a run
  copy_prompts(inputs_.prompt_files, out_);
  write_config();
  keep_earlier(out_ / "constitution.yaml", inputs_.constitution.source);
  write_file(out_ / "constitution.yaml", inputs_.constitution.source);
}

Json& Provenance::begin_stage(const Stage& stage) {
  Json& entry = facts_["stages"][stage.folder];
  const bool is_same_work =
      entry.is_object() && entry.contains("ingredients") && entry["ingredients"] == stage.ingredients;
  if (!is_same_work) entry = {{"state", "running"}, {"seconds", 0.0}, {"tokens", 0}, {"records", 0}};
  for (const char* count : {"seconds", "tokens"})
    if (!entry.contains(count) || !entry[count].is_number()) entry[count] = 0;
  entry["ingredients"] = stage.ingredients;
  return entry;
}

void Provenance::save() const {
  write_sealed(out_ / "run.json", facts_);
}

void Provenance::read_earlier() {
  try {
    facts_ = read_run_json(out_);
  } catch (const InputError& damaged) {  // it holds nothing that decides a result
    log_warning(std::string(damaged.what()) + "; rewriting it, without the wall times of earlier starts");
  }
}

void Provenance::warn_of_changes() const {
  warn_if_changed("the model " + inputs_.model.string(), facts_.value("model", Json()), model_);
  warn_if_changed("the constitution " + inputs_.config.constitution, facts_.value("constitution", Json()),
                  constitution_);
  const Json before = facts_.value("prompts", Json::array());
  for (const Json& file : before)
    for (const Json& now : prompts_)
      if (file.is_object() && file.value("file", "") == now["file"])
        warn_if_changed("the prompt file " + now["file"].get<std::string>(), file, now);
}

/// Of the settings as they were first given: resumed by RUN/config.yaml they name other files.
std::string Provenance::fingerprint() const {
  const Json earlier = facts_.value("config_sha256", Json());
  const bool is_same = holds_config(out_ / "config.yaml", repeatable_config(inputs_, out_));
  return earlier.is_string() && is_same ? earlier.get<std::string>() : config_fingerprint(inputs_.config);
}

void Provenance::write_config() const {
  const fs::path file = out_ / "config.yaml";
  if (holds_config(file, repeatable_config(inputs_, out_))) return;
  keep_earlier(file, "");
  write_file(file, to_sealed_yaml(repeatable_config(inputs_, {})));
}

}  // namespace cai
