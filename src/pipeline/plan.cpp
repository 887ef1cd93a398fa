#include "cai/pipeline/plan.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <thread>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/engine/engine.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/hybrid.hpp"
#include "cai/pipeline/judging.hpp"
#include "cai/pipeline/resources.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/stages/exam.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr int kFormat = 3;  // of what the stages write; raised when the same config gives other records

std::string two_digits(int n) {
  char text[16];
  std::snprintf(text, sizeof text, "%02d", n);
  return text;
}

}  // namespace

int stage_format(const std::string& name) {
  if (name == "exam") return kFormat + 2;   // quoted answers, tests that ask for help under no principle
  if (name == "label") return kFormat + 2;  // quoted answers, verdicts need probability on A and B
  if (name == "sft" || name == "dpo" || name == "ppo") return kFormat + 1;  // slopes where p is nearly 1
  return kFormat;
}

std::vector<Stage> stages_of(const RunInputs& inputs) {
  const Config& config = inputs.config;
  std::vector<Stage> stages;
  stages.reserve(static_cast<std::size_t>(
      config.iterations * (9 + 2 * config.revise.rounds)));  // pointers into it stay valid below
  // Adds a stage; `sections` of the config, `uses` of earlier stages (by folder) and `facts` are what its key
  // is made of.
  auto add = [&](const std::string& name, int iteration, int round, const std::vector<std::string>& sections,
                 const std::vector<const Stage*>& uses, const Json& facts) {
    Json lines = Json::array(), used = Json::object();
    for (const std::string& section : sections) {
      for (const std::string& line : key_lines(config, section))
        lines.push_back(line);
    }
    for (const Stage* stage : uses)
      used[stage->folder] = stage->key;
    std::string folder =
        "iter-" + two_digits(iteration) + "/" + name + (round > 0 ? "-" + std::to_string(round) : "");
    Json ingredients = {{"stage", name},          {"format", stage_format(name)},
                        {"iteration", iteration}, {"seed", config.seed},
                        {"config", lines},        {"inputs", used}};
    if (std::find(sections.begin(), sections.end(), "engine") != sections.end())
      ingredients["arithmetic"] = engine_arithmetic(config.engine.dtype);
    if (name == "sft" || name == "reward" || name == "ppo" || name == "dpo")
      ingredients["threads"] = thread_count(config);  // sums of training are split by them
    ingredients.update(facts);
    stages.push_back({name, folder, iteration, round, ingredients, key_of(ingredients)});
  };
  auto last = [&](const std::string& name) -> const Stage* {
    for (auto stage = stages.rbegin(); stage != stages.rend(); ++stage) {
      if (stage->name == name) return &*stage;
    }
    return nullptr;
  };
  auto present = [](std::initializer_list<const Stage*> some) {
    std::vector<const Stage*> result;
    for (const Stage* stage : some) {
      if (stage) result.push_back(stage);
    }
    return result;
  };

  Json prompt_hashes = Json::array();
  for (const PromptFile& file : inputs.prompt_files)
    prompt_hashes.push_back(file.sha256);
  Json constitution = {{"constitution", inputs.constitution.sha256}}, nothing = Json::object();
  Json judge = constitution;
  std::vector<std::string> judge_sections{"label", "engine"};
  if (is_endpoint(config.label.feedback))
    judge_sections.push_back("endpoint");
  else if (config.label.feedback != "self")
    judge["judge"] = model_fingerprint(find_model(config.label.feedback));

  Json label = judge, reward = nothing;
  std::vector<std::string> reward_sections{"reward", "engine"}, dpo_sections{"dpo", "engine"};
  if (!config.hybrid.decisions.empty()) {
    label["decisions"] = inputs.brought.decision_hashes;
    reward["decisions"] = label["decisions"];
  }
  const std::vector<Json>& edits = inputs.brought.people.edits();
  if (!config.hybrid.pairs.empty()) reward["human_pairs"] = inputs.brought.pairs.hashes;
  if (!reward.empty()) reward_sections.push_back("hybrid"), dpo_sections.push_back("hybrid");

  for (int iteration = 1; iteration <= config.iterations; ++iteration) {
    // The policy that an iteration starts from: the given model, then the last iteration's.
    const std::string trained = policy_stage(config);
    const Stage* policy = last(trained);
    Json model = policy ? nothing : Json{{"model", inputs.model_sha256}};
    Json prompts = {{"prompt_files", prompt_hashes}};
    if (const std::vector<std::string> tests = test_prompts(inputs.constitution); !tests.empty())
      prompts["tests"] = hash_of(std::vector<Json>(tests.begin(), tests.end()));
    if (config.prompts.expand > 0) prompts.update(model);
    add("prompts", iteration, 0,
        config.prompts.expand > 0 ? std::vector<std::string>{"prompts", "engine"}
                                  : std::vector<std::string>{"prompts"},
        present({config.prompts.expand > 0 ? policy : nullptr}), prompts);
    add("generate", iteration, 0, {"generate", "engine"}, present({last("prompts"), policy}), model);
    Json model_and_constitution = constitution;
    model_and_constitution.update(model);
    for (int round = 1; round <= config.revise.rounds; ++round) {
      add("critique", iteration, round, {"critique", "engine"},
          present({round == 1 ? last("generate") : last("revise"), policy}), model_and_constitution);
      add("revise", iteration, round, {"revise", "engine"}, present({last("critique"), policy}),
          model_and_constitution);
    }
    Json learned = model;
    if (!edits.empty()) learned["edits"] = hash_of(edits);
    if (const Json judging = judge_turns_facts(config, inputs.constitution, inputs.brought);
        !judging.is_null())
      learned["judge_turns"] = judging;
    add("sft", iteration, 0, {"sft", "engine"},
        present({config.revise.rounds > 0 ? last("revise") : last("generate"), policy}), learned);
    if (trained != "sft") {
      Json examined = judge;
      examined["exam_pairs"] = inputs.brought.exam_pairs.hashes;
      if (config.label.feedback == "self") examined.update(model);
      add("exam", iteration, 0, judge_sections,
          config.label.feedback == "self" ? present({policy, last("sft")}) : present({}), examined);
      add("candidates", iteration, 0, {"candidates", "engine"},
          present({last("prompts"), last("sft"), last("exam")}), constitution);
      add("label", iteration, 0, judge_sections,
          present(
              {last("candidates"), last("exam"), config.label.feedback == "self" ? last("sft") : nullptr}),
          label);
      if (trained == "dpo") {
        add("dpo", iteration, 0, dpo_sections, present({last("label"), last("sft")}), reward);
      } else {
        add("reward", iteration, 0, reward_sections, present({last("label"), last("sft")}), reward);
        add("ppo", iteration, 0, {"ppo", "engine"}, present({last("prompts"), last("sft"), last("reward")}),
            nothing);
      }
    }
    Json eval = {
        {"prompt_files", prompt_hashes}, {"base", inputs.model_sha256}, {"suites", inputs.suites.sha256}};
    eval.update(constitution);
    add("eval", iteration, 0, {"eval", "engine"}, present({last("sft"), last("ppo"), last("dpo")}), eval);
  }
  return stages;
}

std::string difference(const Json& before, const Json& after) {
  auto is_object = [](const Json& value) { return value.is_object() && !value.empty(); };
  if (!is_object(before)) return "made by an earlier version or other settings";
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
  return line.empty() ? "made with fewer or other settings" : line;
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
  Plan plan{.steps = {}, .disk_bytes = disk_estimate(inputs), .memory_bytes = memory_estimate(inputs)};
  for (const Stage& stage : stages_of(inputs)) {
    PlanStep step{.stage = stage.name, .folder = stage.folder, .state = "run", .why = "not run yet"};
    Json before = earlier.contains("stages") && earlier["stages"].contains(stage.folder)
                      ? earlier["stages"][stage.folder]
                      : Json::object();
    Json ingredients = before.contains("ingredients") ? before["ingredients"] : Json();
    fs::path folder = out / stage.folder;
    std::optional<Manifest> manifest = read_manifest(folder);
    if (manifest && manifest->key == stage.key) {
      step.state = "done", step.why = "its key fits";
    } else if (manifest) {
      step.state = "changed", step.why = difference(ingredients, stage.ingredients);
    } else if (fs::exists(folder) && ingredients == stage.ingredients) {
      step.state = "resume", step.why = "interrupted";
    } else if (fs::exists(folder)) {
      step.state = "changed", step.why = "unfinished, and " + difference(ingredients, stage.ingredients);
    }
    if (step.state != "done") {
      Cost cost = estimate(inputs, stage.name);
      step.records = cost.records, step.tokens = cost.tokens, step.seconds = cost.seconds;
    }
    plan.steps.push_back(step);
  }
  return plan;
}

}  // namespace cai
