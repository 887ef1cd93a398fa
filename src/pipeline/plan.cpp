#include "cai/pipeline/plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>
#include <thread>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/data/decisions.hpp"
#include "cai/data/pair_import.hpp"
#include "cai/engine/engine.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/file.hpp"
#include "cai/io/gguf.hpp"
#include "cai/io/manifest.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/judging.hpp"
#include "cai/pipeline/resources.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/stages/eval.hpp"
#include "cai/stages/exam.hpp"
#include "cai/stages/figures.hpp"
#include "cai/text/chat.hpp"
#include "cai/text/tokenizer.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPackagedModel = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";  // as scripts/setup.sh has it
constexpr int kFormat = 2;  // of what the stages write; raised when the same config gives other records

/// Collects the lines of failures, so that all are told at once.
class Problems {
 public:
  template <typename Function>
  void attempt(Function function) {
    try {
      function();
    } catch (const InputError& error) { add(error.what()); } catch (const UsageError& error) {
      add(error.what());
    } catch (const EnvironmentError& error) {
      add(error.what());
    }
  }
  void add(const std::string& line) { lines_ += (lines_.empty() ? "" : "\n") + line; }
  void throw_if_any() const {
    if (!lines_.empty()) throw InputError(lines_);
  }

 private:
  std::string lines_;
};

double parameter_count(const ModelConfig& c) {
  double attention = double(c.width) * c.head_width * (2 * c.heads + 2 * c.kv_heads);
  double layer = attention + 3.0 * c.width * c.ffn_width + 2.0 * c.width;
  return c.layers * layer + double(c.vocabulary) * c.width * (c.tied_head ? 1 : 2) + c.width;
}

/// A prompt that names no split is held out for one id in five.
void draw_split(Prompt& prompt) {
  if (prompt.split.empty()) prompt.split = std::stoul(sha256(prompt.id).substr(0, 4), nullptr, 16) % 5 == 0 ? "held-out" : "train";
}

void read_prompt_files(RunInputs& inputs, Problems& problems) {
  std::vector<fs::path> files;
  for (const std::string& name : inputs.config.prompts.files) files.push_back(find_shipped(name));
  if (files.empty()) files = shipped_prompts();
  if (files.empty())
    problems.add("prompts.files: none given, and " + (home() / "prompts").string() + " holds no shipped sets; give --prompts FILE");
  std::map<std::string, std::string> seen;
  for (const fs::path& file : files) {
    problems.attempt([&] {
      std::vector<Prompt> prompts = read_prompts(file);
      if (prompts.empty()) throw InputError(file.string(), 0, "holds no prompts");
      inputs.prompt_files.push_back({file, sha256_file(file), static_cast<long>(prompts.size())});
      for (Prompt& prompt : prompts) {
        auto [other, is_new] = seen.emplace(prompt.id, file.string());
        if (!is_new)
          throw InputError(file.string(), 0,
                           "id " + in_quotes(prompt.id) + " is also in " + other->second + "; ids must be unique in a run");
        draw_split(prompt);
        inputs.prompts.push_back(std::move(prompt));
      }
    });
  }
  auto of_split = [&](const char* split) {
    return std::count_if(inputs.prompts.begin(), inputs.prompts.end(), [&](const Prompt& prompt) { return prompt.split == split; });
  };
  if (!inputs.prompts.empty() && of_split("train") == 0) problems.add("prompts.files: no prompt has split \"train\"");
  if (!inputs.prompts.empty() && of_split("held-out") == 0)
    problems.add("prompts.files: no prompt has split \"held-out\"; eval needs some");
}

/// The folder itself or its nearest parent that exists.
fs::path existing_parent(fs::path folder) {
  folder = fs::absolute(folder);
  while (!fs::exists(folder) && folder.has_relative_path()) folder = folder.parent_path();
  return folder;
}

/// A folder without files, the traces of a run apart that was stopped before its first file: its lock, run.json not yet published.
bool holds_nothing(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename();
    if (name != "run.json.tmp" && !name.starts_with(".")) return false;
  }
  return true;
}

void check_out(const RunInputs& inputs, Problems& problems) {
  fs::path out = inputs.config.out.empty() ? "runs" : inputs.config.out;
  fs::path parent = existing_parent(out);
  if (!fs::is_directory(parent)) {
    problems.add(out.string() + ": " + parent.string() + " is not a folder");
    return;
  }
  bool is_run = fs::exists(out / "run.json");
  if (!inputs.config.out.empty() && fs::is_directory(out) && !is_run) {
    if (!holds_nothing(out))
      problems.add(out.string() +
                   ": exists and is not a run folder (no run.json); accepted are a new name, an empty folder, a run to resume");
  }
  if (inputs.parameters == 0) return;
  if (const std::string problem = disk_problem(inputs, out, parent); !problem.empty()) problems.add(problem);
  if (const std::string problem = memory_problem(inputs); !problem.empty()) problems.add(problem);
}

std::string two_digits(int n) {
  char text[16];
  std::snprintf(text, sizeof text, "%02d", n);
  return text;
}

}  // namespace

long prompt_count(const RunInputs& inputs) {
  const PromptsConfig& config = inputs.config.prompts;
  long red_team = 0, borderline = 0, ordinary = 0;
  for (const Prompt& prompt : inputs.prompts) {
    if (prompt.split != "train") continue;
    ++(prompt.has_tag("red-team") ? red_team : prompt.has_tag("borderline") ? borderline : ordinary);
  }
  return std::min(red_team, config.red_team) + std::min(borderline, config.borderline) + std::min(ordinary, config.ordinary) +
         config.expand;
}

RunInputs check_inputs(const Config& config) {
  RunInputs inputs{.config = config};
  Problems problems;
  problems.attempt([&] { inputs.constitution = read_constitution(find_shipped(config.constitution)); });
  problems.attempt([&] {
    inputs.model = find_model(config.model);
    inputs.architecture = read_model_config(inputs.model);
    inputs.parameters = parameter_count(inputs.architecture);
    load_chat(inputs.model, inputs.architecture.vocabulary);
    inputs.model_sha256 = model_fingerprint(inputs.model);
    if (config.model == "smollm2" && inputs.model_sha256 != kPackagedModel)
      throw InputError(inputs.model.string(), 0, "is damaged: its SHA-256 is " + inputs.model_sha256.substr(0, 12) + "..., not " +
                       std::string(kPackagedModel).substr(0, 12) + "...; scripts/cai fetches it again");
  });
  read_prompt_files(inputs, problems);
  if (const std::string& judge = config.label.feedback;
      judge != "self" && !judge.starts_with("http://") && !judge.starts_with("https://")) {
    problems.attempt([&] { find_model(judge); });
  } else if (judge != "self") {
    EndpointConfig endpoint = config.endpoint;
    endpoint.url = judge;
    problems.attempt([&] { check_endpoint(endpoint); });
  }
  bool has_suites = false;  // without them nobody knows which measures there are
  problems.attempt([&] { inputs.suites = suites_of(config.eval), has_suites = true; });
  for (const std::string& gate : config.eval.gates) {
    if (has_suites) problems.attempt([&] { check_gate(gate, eval_measures(inputs.suites)); });
  }
  for (const std::string& path : config.hybrid.decisions) problems.attempt([&] { read_decisions(path); });
  for (const std::string& path : config.hybrid.pairs) problems.attempt([&] { read_pairs(find_shipped(path)); });
  for (const std::string& path : config.label.exam_pairs)
    problems.attempt([&] {
      const std::vector<Json> pairs = read_pairs(find_shipped(path)).records;
      if (inputs.constitution.principles.empty()) return;  // told already
      const std::vector<ExamItem> items = exam_items(config.label, inputs.constitution, pairs, Random(0));
      if (std::none_of(items.begin(), items.end(), [](const ExamItem& item) { return item.part == "people"; })) throw InputError(path, 0, "holds no pair that a person decided");
    });
  problems.attempt([&] { check_out(inputs, problems); });
  problems.throw_if_any();
  return inputs;
}

std::string policy_stage(const Config& config) { return config.method == "dpo" ? "dpo" : config.ppo.updates > 0 ? "ppo" : "sft"; }

std::vector<Stage> stages_of(const RunInputs& inputs) {
  const Config& config = inputs.config;
  std::vector<Stage> stages;
  stages.reserve(static_cast<std::size_t>(config.iterations * (9 + 2 * config.revise.rounds)));  // pointers into it stay valid below
  // Adds a stage; `sections` of the config, `uses` of earlier stages (by folder) and `facts` are what its key is made of.
  auto add = [&](const std::string& name, int iteration, int round, const std::vector<std::string>& sections,
                 const std::vector<const Stage*>& uses, const Json& facts) {
    Json lines = Json::array(), used = Json::object();
    for (const std::string& section : sections) {
      for (const std::string& line : key_lines(config, section)) lines.push_back(line);
    }
    for (const Stage* stage : uses) used[stage->folder] = stage->key;
    std::string folder = "iter-" + two_digits(iteration) + "/" + name + (round > 0 ? "-" + std::to_string(round) : "");
    Json ingredients = {{"stage", name},       {"format", kFormat}, {"iteration", iteration},
                        {"seed", config.seed}, {"config", lines},   {"inputs", used}};
    if (std::find(sections.begin(), sections.end(), "engine") != sections.end()) ingredients["arithmetic"] = engine_arithmetic(config.engine.dtype);
    if (name == "sft" || name == "reward" || name == "ppo" || name == "dpo") ingredients["threads"] = thread_count(config);  // sums of training are split by them
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
  for (const PromptFile& file : inputs.prompt_files) prompt_hashes.push_back(file.sha256);
  Json constitution = {{"constitution", inputs.constitution.sha256}}, nothing = Json::object();
  Json judge = constitution;
  std::vector<std::string> judge_sections{"label", "engine"};
  if (config.label.feedback.starts_with("http")) judge_sections.push_back("endpoint");
  else if (config.label.feedback != "self") judge["judge"] = model_fingerprint(find_model(config.label.feedback));

  Json label = judge;
  label["format"] = kFormat + 1;  // priorities decide conflicts
  Json reward = nothing;
  std::vector<std::string> reward_sections{"reward", "engine"}, dpo_sections{"dpo", "engine"};
  if (!config.hybrid.decisions.empty()) {
    for (const std::string& path : config.hybrid.decisions) label["decisions"].push_back(hash_of(read_decisions(path)));
    reward["decisions"] = label["decisions"];
  }
  for (const std::string& path : config.hybrid.pairs) reward["human_pairs"].push_back(hash_of(read_pairs(find_shipped(path)).records));
  if (!reward.empty()) reward_sections.push_back("hybrid"), dpo_sections.push_back("hybrid");

  for (int iteration = 1; iteration <= config.iterations; ++iteration) {
    // The policy that an iteration starts from: the given model, then the last iteration's.
    const std::string trained = policy_stage(config);
    const Stage* policy = last(trained);
    Json model = policy ? nothing : Json{{"model", inputs.model_sha256}};
    Json prompts = {{"prompt_files", prompt_hashes}};
    if (config.prompts.expand > 0) prompts.update(model);
    add("prompts", iteration, 0,
        config.prompts.expand > 0 ? std::vector<std::string>{"prompts", "engine"} : std::vector<std::string>{"prompts"},
        present({last("eval"), config.prompts.expand > 0 ? policy : nullptr}), prompts);
    add("generate", iteration, 0, {"generate", "engine"}, present({last("prompts"), policy}), model);
    Json model_and_constitution = constitution;
    model_and_constitution.update(model);
    for (int round = 1; round <= config.revise.rounds; ++round) {
      add("critique", iteration, round, {"critique", "engine"}, present({round == 1 ? last("generate") : last("revise"), policy}),
          model_and_constitution);
      add("revise", iteration, round, {"revise", "engine"}, present({last("critique"), policy}), model_and_constitution);
    }
    Json learned = model;
    if (const Json judging = judge_turns_facts(config, inputs.constitution); !judging.is_null()) learned["judge_turns"] = judging;
    add("sft", iteration, 0, {"sft", "engine"}, present({config.revise.rounds > 0 ? last("revise") : last("generate"), policy}), learned);
    if (trained != "sft") {
      Json examined = judge;
      examined["format"] = kFormat + 1;  // one record a question
      examined["exam_pairs"] = exam_pairs_facts(config);
      if (config.label.feedback == "self") examined.update(model);
      add("exam", iteration, 0, judge_sections, config.label.feedback == "self" ? present({policy, last("sft")}) : present({}), examined);
      add("candidates", iteration, 0, {"candidates", "engine"}, present({last("prompts"), last("sft"), last("exam")}), constitution);
      add("label", iteration, 0, judge_sections,
          present({last("candidates"), last("exam"), config.label.feedback == "self" ? last("sft") : nullptr}), label);
      if (trained == "dpo") {
        add("dpo", iteration, 0, dpo_sections, present({last("label"), last("sft")}), reward);
      } else {
        add("reward", iteration, 0, reward_sections, present({last("label"), last("sft")}), reward);
        add("ppo", iteration, 0, {"ppo", "engine"}, present({last("prompts"), last("sft"), last("reward")}), nothing);
      }
    }
    Json eval = {{"prompt_files", prompt_hashes}, {"base", inputs.model_sha256}, {"suites", inputs.suites.sha256}};
    eval.update(constitution);
    add("eval", iteration, 0, {"eval", "engine"}, present({last("sft"), last("ppo"), last("dpo")}), eval);
  }
  return stages;
}

std::string difference(const Json& before, const Json& after) {
  auto is_object = [](const Json& value) { return value.is_object() && !value.empty(); };
  if (!is_object(before)) return "made by an earlier version or other settings";
  std::vector<std::string> parts;
  auto text = [](const Json& value) { return value.is_string() ? value.get<std::string>().substr(0, 12) : value.dump(); };
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
  for (const std::string& part : parts) line += (line.empty() ? "" : "; ") + part;
  return line.empty() ? "made with fewer or other settings" : line;
}

Cost estimate(const RunInputs& inputs, const Stage& stage) {
  const Config& config = inputs.config;
  // Measured shares of a modern core's bf16 speed: about 100 GFLOP/s a core in decoding, 250 in prefill, 120 in training.
  double cores = config.engine.threads > 0 ? static_cast<double>(config.engine.threads) : std::max(1u, std::thread::hardware_concurrency());
  double flop = 2 * inputs.parameters;
  double decode = 100e9 * cores / flop, prefill = 250e9 * cores / flop, train = 120e9 * cores / (3 * flop);
  constexpr double kPrompt = 40;  // tokens of a question with its template
  auto spoken = [&](double records, double context, double answer) {
    return Cost{std::lround(records), records * (context + answer), records * (context / prefill + answer / decode)};
  };
  auto trained = [&](double examples, double tokens) { return Cost{std::lround(examples), examples * tokens, examples * tokens / train}; };

  double prompts = static_cast<double>(prompt_count(inputs));
  double compared = std::min(prompts, static_cast<double>(config.candidates.prompts));
  if (stage.name == "prompts")
    return spoken(static_cast<double>(config.prompts.expand), 200, 40).records ? spoken(config.prompts.expand, 200, 40)
                                                                               : Cost{std::lround(prompts), 0, 0};
  if (stage.name == "generate") return spoken(prompts, kPrompt, config.generate.max_new_tokens);
  if (stage.name == "critique") return spoken(prompts, 2 * kPrompt + config.generate.max_new_tokens, config.critique.max_new_tokens);
  if (stage.name == "revise")
    return spoken(prompts, 3 * kPrompt + config.generate.max_new_tokens + config.critique.max_new_tokens, config.revise.max_new_tokens);
  if (stage.name == "sft") {
    const Cost answers = trained(prompts * config.sft.epochs, kPrompt + config.revise.max_new_tokens);
    const Cost turns = trained(static_cast<double>(config.sft.judge_turns * config.sft.epochs), kPrompt * (2 + 2 * config.label.examples) + 2 * config.generate.max_new_tokens);
    return {answers.records + turns.records, answers.tokens + turns.tokens, answers.seconds + turns.seconds};
  }
  if (stage.name == "exam") return spoken((config.label.feedback == "self" ? 120 : 60) + (config.label.exam_pairs.empty() ? 0 : 400), 300, 0);
  if (stage.name == "candidates") return spoken(compared * config.candidates.per_prompt, kPrompt, config.candidates.max_new_tokens);
  if (stage.name == "label") {
    double pairs = compared * config.candidates.per_prompt * (config.candidates.per_prompt - 1) / 2;
    return spoken(pairs, 2 * config.label.principles * (2 * kPrompt + 2 * config.candidates.max_new_tokens),
                  config.label.max_reason_tokens);
  }
  if (stage.name == "reward") return trained(compared * config.reward.epochs, 2 * (kPrompt + config.candidates.max_new_tokens));
  if (stage.name == "dpo") return trained(compared * config.dpo.epochs, 3 * (kPrompt + config.candidates.max_new_tokens));  // a third of it for the reference
  if (stage.name == "ppo") {
    double rollouts = static_cast<double>(config.ppo.updates * config.ppo.prompts_per_update * config.ppo.samples_per_prompt);
    Cost sampled = spoken(rollouts, kPrompt, config.ppo.max_new_tokens);
    // Policy and value model learn each epoch; policy, reference, value and reward read once.
    Cost learned = trained(rollouts * (2 * config.ppo.epochs + 4.0 / 3), kPrompt + config.ppo.max_new_tokens);
    return {sampled.records, sampled.tokens + learned.tokens, sampled.seconds + learned.seconds};
  }
  if (stage.name == "eval") {
    const EvalConfig& eval = config.eval;
    std::set<std::string> attacks;
    for (const Attack& attack : inputs.suites.attacks) attacks.insert(attack.name);
    long harmful = std::min(eval.suite_prompts, eval.red_team), harmless = std::min(eval.suite_prompts, eval.borderline);
    long plain = eval.red_team + eval.ordinary + eval.borderline, attacked = static_cast<long>(attacks.size()) * harmful;
    long framed = inputs.suites.framings.empty() ? 0 : 2 * (harmful + harmless);
    Cost asked = spoken(3 * static_cast<double>(plain + attacked + framed), 4 * kPrompt + eval.max_new_tokens, eval.max_new_tokens);
    Cost scored = spoken(3 * static_cast<double>(inputs.suites.texts.size() + inputs.suites.questions.size()), 2 * kPrompt, 0);
    return {asked.records + scored.records, asked.tokens + scored.tokens, asked.seconds + scored.seconds};
  }
  return {};
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
      threads = read_run_json(config.out).value("threads", 0L);  // what "all cores" was when the run began, wherever it goes on
    } catch (const InputError&) {  // told when the run goes on
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
    if (state.value("state", "") != "done" && state.value("config_sha256", "") == config_fingerprint(inputs.config)) return run;
  }
  return runs / (prefix + two_digits(newest + 1));
}

fs::path run_folder(const RunInputs& inputs) {
  return inputs.config.out.empty() ? choose_run_folder(inputs, "runs") : fs::path(inputs.config.out);
}

Plan plan(const Config& config) {
  RunInputs inputs = check_inputs(config);
  fs::path out = run_folder(inputs);
  inputs.config.out = out.string();
  Json earlier = Json::object();
  try {
    earlier = read_run_json(out);
  } catch (const InputError& damaged) {
    log_warning(damaged.what());
  }
  Plan plan{.steps = {}, .disk_bytes = disk_estimate(inputs), .memory_bytes = memory_estimate(inputs)};
  for (const Stage& stage : stages_of(inputs)) {
    PlanStep step{.stage = stage.name, .folder = stage.folder, .state = "run", .why = "not run yet"};
    Json before = earlier.contains("stages") && earlier["stages"].contains(stage.folder) ? earlier["stages"][stage.folder] : Json::object();
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
      Cost cost = estimate(inputs, stage);
      step.records = cost.records, step.tokens = cost.tokens, step.seconds = cost.seconds;
    }
    plan.steps.push_back(step);
  }
  return plan;
}

}  // namespace cai
