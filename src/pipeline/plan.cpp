#include "cai/pipeline/plan.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <thread>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/resources.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/pipeline/stage_kinds.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

std::string two_digits(int n) {
  char text[16];
  std::snprintf(text, sizeof text, "%02d", n);
  return text;
}

/// The rows and rounds of one iteration in running order.
std::vector<std::pair<const StageKind*, int>> rows_of(const Config& config) {
  std::vector<std::pair<const StageKind*, int>> rows;
  const std::vector<StageKind>& kinds = stage_kinds();
  for (auto kind = kinds.begin(); kind != kinds.end();) {
    auto next = kind + 1;
    if (kind->in_rounds) {
      next = std::find_if(kind, kinds.end(), [](const StageKind& one) { return !one.in_rounds; });
      for (int round = 1; round <= config.revise.rounds; ++round)
        for (auto one = kind; one != next; ++one)
          rows.emplace_back(&*one, round);
    } else if (!kind->is_in_run || kind->is_in_run(config)) {
      rows.emplace_back(&*kind, 0);
    }
    kind = next;
  }
  return rows;
}

/// The latest stage of a name; null when there is none yet.
const Stage* last_of(const std::vector<Stage>& stages, const std::string& name) {
  const auto found =
      std::find_if(stages.rbegin(), stages.rend(), [&](const Stage& stage) { return stage.name == name; });
  return found == stages.rend() ? nullptr : &*found;
}

/// Folders and keys of the stages that `names` says; `policy` (null in the first iteration) for kPolicy.
Json inputs_of(const std::vector<std::string>& names, const std::vector<Stage>& stages, const Stage* policy) {
  Json inputs = Json::object();
  for (const std::string& name : names) {
    const Stage* const stage = name == kPolicy ? policy : last_of(stages, name);
    if (stage) inputs[stage->folder] = stage->key;
  }
  return inputs;
}

/// {field: SHA-256 of the model or address of the endpoint}; nothing where the policy itself gives feedback.
Json feedback_fact(const std::string& field, const std::string& name) {
  if (name == "self") return Json::object();
  return {{field, is_endpoint(name) ? name : model_fingerprint(find_model(name))}};
}

/// Adds the stages of one iteration.
void add_iteration(std::vector<Stage>& stages, RunFacts& facts, int iteration) {
  const Config& config = facts.inputs.config;
  const std::vector<Stage> earlier = stages;
  const Stage* const policy = last_of(earlier, policy_stage(config));
  facts.model = policy ? Json::object() : Json{{"model", facts.inputs.model_sha256}};
  for (const auto& [kind, round] : rows_of(config)) {
    const Json inputs = inputs_of(kind->inputs(config, round), stages, policy);
    Stage stage{.name = kind->name, .iteration = iteration, .round = round};
    stage.folder = "iter-" + two_digits(iteration) + "/" + kind->name;
    if (round > 0) stage.folder += "-" + std::to_string(round);
    for (const auto& [folder, key] : inputs.items())
      stage.inputs.push_back(folder);
    stage.ingredients = ingredients_in_run(*kind, config, iteration, inputs,
                                           kind->facts ? kind->facts(facts) : Json::object());
    stage.key = key_of(stage.ingredients);
    stages.push_back(std::move(stage));
  }
}

}  // namespace

std::vector<Stage> stages_of(const RunInputs& inputs) {
  std::vector<Stage> stages;
  RunFacts facts{.inputs = inputs,
                 .model = Json::object(),
                 .critic = feedback_fact("feedback", inputs.config.feedback),
                 .judge = feedback_fact("judge", judge_of(inputs.config)),
                 .eval_judge = inputs.config.eval.judge.empty()
                                   ? Json::object()
                                   : feedback_fact("eval_judge", inputs.config.eval.judge)};
  for (int iteration = 1; iteration <= inputs.config.iterations; ++iteration)
    add_iteration(stages, facts, iteration);
  return stages;
}

std::string difference(const Json& before, const Json& after) {
  auto is_object = [](const Json& value) { return value.is_object() && !value.empty(); };
  if (!is_object(before)) return "made by an earlier version or with different settings";
  std::vector<std::string> parts;
  auto text = [](const Json& value) {
    return value.is_string() ? value.get<std::string>().substr(0, 12) : value.dump();
  };
  auto config_values = [](const Json& lines) {
    std::map<std::string, std::string> values;
    for (const Json& line : lines) {
      std::string all = line.is_string() ? line.get<std::string>() : "";
      std::size_t equals = all.find(" = ");
      if (equals != std::string::npos) values[all.substr(0, equals)] = all.substr(equals + 3);
    }
    return values;
  };
  for (const auto& [name, value] : after.items()) {
    Json old = before.contains(name) ? before[name] : Json();
    if (old == value) continue;
    if (name == "config" && old.is_array()) {
      auto was = config_values(old), is = config_values(value);
      for (const auto& [field, now] : is) {
        if (was[field] != now) parts.push_back(field + " " + was[field] + " -> " + now);
      }
    } else if (name == "inputs" && old.is_object()) {
      for (const auto& [folder, key] : value.items()) {
        if (!old.contains(folder) || old[folder] != key) parts.push_back("input " + folder);
      }
    } else {
      parts.push_back(name + " " + text(old) + " -> " + text(value));
    }
  }
  std::string line;
  for (const std::string& part : parts)
    line += (line.empty() ? "" : "; ") + part;
  return line.empty() ? "made with fewer or different settings" : line;
}

Json read_run_json(const fs::path& run) {
  fs::path file = run / "run.json";
  if (!fs::exists(file)) return Json::object();
  return read_sealed(file);
}

long thread_count(const Config& config) {
  long threads = config.engine.threads;
  if (threads == 0 && !config.out.empty()) {
    try {
      threads = read_run_json(config.out)
                    .value("threads", 0L);  // what "all cores" was when the run began, wherever it goes on
    } catch (const InputError&) {           // told when the run goes on
    }
  }
  return threads > 0 ? threads : static_cast<long>(std::max(1u, std::thread::hardware_concurrency()));
}

std::string config_fingerprint(const Config& config) {
  Config copy = config;
  copy.out.clear();
  copy.engine.threads = 0;  // 0 and the number that it stood for name the same run
  return sha256(to_yaml(copy, false));
}

fs::path choose_run_folder(const RunInputs& inputs, const fs::path& runs) {
  std::string prefix = inputs.constitution.name + "-";
  for (char& letter : prefix) {
    if (!std::isalnum(static_cast<unsigned char>(letter)) && letter != '-' && letter != '_') letter = '-';
  }
  int newest = 0;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(runs, ignored)) {
    std::string name = entry.path().filename();
    std::string number = name.starts_with(prefix) ? name.substr(prefix.size()) : "";
    if (!number.empty() && number.size() < 7 && number.find_first_not_of("0123456789") == std::string::npos)
      newest = std::max(newest, std::stoi(number));
  }
  for (int n = newest; n > 0; --n) {
    fs::path run = runs / (prefix + two_digits(n));
    if (!fs::exists(run / "run.json")) {
      if (n == newest && holds_nothing(run)) return run;  // killed before its first file
      continue;
    }
    Json state;
    try {
      state = read_run_json(run);
    } catch (const InputError& damaged) {
      log_warning(damaged.what());
      continue;
    }
    if (state.value("state", "") != "done" &&
        state.value("config_sha256", "") == config_fingerprint(inputs.config))
      return run;
  }
  return runs / (prefix + two_digits(newest + 1));
}

fs::path run_folder(const RunInputs& inputs) {
  return inputs.config.out.empty() ? choose_run_folder(inputs, "runs") : fs::path(inputs.config.out);
}

Plan plan(const Config& config) {
  RunInputs inputs = check_inputs(config);
  const fs::path out = run_folder(inputs);
  inputs.config.out = out.string();
  return plan_of(inputs, out);
}

Plan plan_of(const RunInputs& inputs, const fs::path& out) {
  Json earlier = Json::object();
  try {
    earlier = read_run_json(out);
  } catch (const InputError& damaged) {
    log_warning(damaged.what());
  }
  const Workload work(inputs);
  Plan plan{.steps = {},
            .disk_bytes = disk_estimate(inputs),
            .memory_bytes = memory_estimate(inputs),
            .device_bytes = device_estimate(inputs)};
  for (const Stage& stage : stages_of(inputs)) {
    PlanStep step{.stage = stage.name, .folder = stage.folder, .state = "run", .why = "not run yet"};
    Json before = earlier.contains("stages") && earlier["stages"].contains(stage.folder)
                      ? earlier["stages"][stage.folder]
                      : Json::object();
    Json ingredients = before.contains("ingredients") ? before["ingredients"] : Json();
    fs::path folder = out / stage.folder;
    std::optional<Manifest> manifest = read_manifest(folder);
    if (manifest && manifest->key == stage.key) {
      step.state = "done", step.why = "up to date";
    } else if (manifest) {
      step.state = "changed", step.why = difference(ingredients, stage.ingredients);
    } else if (fs::exists(folder) && ingredients == stage.ingredients) {
      step.state = "resume", step.why = "interrupted";
    } else if (fs::exists(folder)) {
      step.state = "changed", step.why = "unfinished, and " + difference(ingredients, stage.ingredients);
    }
    if (step.state != "done") {
      const Cost cost = stage_kind(stage.name).cost(work);
      step.records = cost.records;
      step.tokens = cost.tokens;
      step.seconds = cost.seconds;
    }
    plan.steps.push_back(step);
  }
  return plan;
}

}  // namespace cai
