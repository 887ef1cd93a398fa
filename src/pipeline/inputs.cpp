#include "cai/pipeline/inputs.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/data/tags.hpp"
#include "cai/engine/devices.hpp"
#include "cai/stages/prompts.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/gguf.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/pipeline/resources.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/pipeline/snapshots.hpp"
#include "cai/stages/eval.hpp"
#include "cai/stages/exam.hpp"
#include "cai/stages/figures.hpp"
#include "cai/stages/gates.hpp"
#include "cai/stages/principles.hpp"
#include "cai/text/chat.hpp"
#include "cai/text/tokenizer.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPackagedModel =
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";  // as in scripts/fetch-model

/// Collects the lines of failures, so that all are told at once.
class Problems {
 public:
  template <typename Function>
  void attempt(Function function) {
    try {
      function();
    } catch (const InputError& error) {
      add(error.what());
    } catch (const UsageError& error) {
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

void read_prompt_files(RunInputs& inputs, Problems& problems, std::vector<std::string>& notes) {
  std::vector<fs::path> files;
  for (const std::string& name : inputs.config.prompts.files)
    files.push_back(find_shipped(name));
  if (files.empty()) files = shipped_prompts();
  if (files.empty())
    problems.add("prompts.files: none given, and " + (home() / "prompts").string() +
                 " holds no shipped sets; give --prompts FILE");
  std::map<std::string, std::pair<std::string, std::string>> seen;  // by id: text and file
  for (const fs::path& file : files) {
    problems.attempt([&] {
      std::vector<Prompt> prompts = read_prompts(file, &notes);
      long repeated = 0;
      if (prompts.empty()) throw InputError(file.string(), 0, "holds no prompts");
      inputs.prompt_files.push_back({file, sha256_file(file), static_cast<long>(prompts.size())});
      check_copy(file, inputs.prompt_files.back().sha256);
      for (Prompt& prompt : prompts) {
        const auto [other, is_new] = seen.emplace(prompt.id, std::pair(prompt.text, file.string()));
        if (!is_new && other->second.first != prompt.text)
          throw InputError(file.string(), 0,
                           "id " + in_quotes(prompt.id) + " is also in " + other->second.second +
                               "; ids must be unique within a run");
        if (is_new)
          inputs.prompts.push_back(std::move(prompt));
        else
          ++repeated;
      }
      if (repeated > 0)
        notes.push_back(file.string() + ": " + std::to_string(repeated) +
                        " prompts are also in an earlier file and are used once");
    });
  }
  draw_splits(inputs.prompts);
  auto of_split = [&](const char* split) {
    return std::count_if(inputs.prompts.begin(), inputs.prompts.end(),
                         [&](const Prompt& prompt) { return prompt.split == split; });
  };
  if (!inputs.prompts.empty() && of_split("train") == 0)
    problems.add("prompts.files: no prompt has split \"train\"");
  if (!inputs.prompts.empty() && of_split("held-out") == 0)
    problems.add("prompts.files: no prompt has split \"held-out\"; eval needs some");
}

/// The folder itself or its nearest parent that exists.
fs::path existing_parent(fs::path folder) {
  folder = fs::absolute(folder);
  while (!fs::exists(folder) && folder.has_relative_path())
    folder = folder.parent_path();
  return folder;
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
                   ": exists and is not a run folder (no run.json); give a new name, an empty "
                   "folder or a run to resume");
  }
  if (inputs.parameters == 0) return;
  if (const std::string problem = disk_problem(inputs, out, parent); !problem.empty()) problems.add(problem);
  if (const std::string problem = memory_problem(inputs); !problem.empty()) problems.add(problem);
}

struct Kinds {
  std::map<std::string, long> prompts;  // of training, by kind; "" for none
  long tagged() const { return total() - untagged(); }
  long untagged() const { return prompts.contains("") ? prompts.at("") : 0; }
  long total() const {
    long sum = 0;
    for (const auto& [kind, n] : prompts)
      sum += n;
    return sum;
  }
};

Kinds training_kinds(const RunInputs& inputs) {
  Kinds kinds;
  for (const Prompt& prompt : inputs.prompts)
    if (prompt.split == "train") ++kinds.prompts[kind_of_tags(prompt.tags)];
  return kinds;
}

/// Principles that no prompt meets; a mistyped kind is the usual cause.
void note_idle_principles(const RunInputs& inputs, std::vector<std::string>& notes) {
  std::set<std::string> tags;
  for (const Prompt& prompt : inputs.prompts)
    tags.insert(prompt.tags.begin(), prompt.tags.end());
  for (const Principle& principle : inputs.constitution.principles)
    for (const std::string& tag : principle.applies_to) {
      const std::string kind = meant_kind(tag);
      if (tags.contains(tag) && kind.empty()) continue;
      const bool has_untagged = training_kinds(inputs).untagged() > 0;
      if (kind.empty() && (has_untagged || principle.applies_to.size() > 1)) continue;
      notes.push_back(
          "constitution: principle " + in_quotes(principle.id) + " applies to the tag " + in_quotes(tag) +
          (kind.empty() ? ", which no prompt has"
                        : "; did you mean \"" + kind + "\"? Kinds are red-team, borderline and ordinary"));
    }
}

/// Prompts of one's own that the limits leave out: it would look as if they were used.
void note_limits(const RunInputs& inputs, std::vector<std::string>& notes) {
  const PromptsConfig& config = inputs.config.prompts;
  std::map<std::string, long> of = training_kinds(inputs).prompts;
  of["ordinary"] += of[""];
  for (const auto& [kind, field, most] : {std::tuple("red-team", "red_team", config.red_team),
                                          {"borderline", "borderline", config.borderline},
                                          {"ordinary", "ordinary", config.ordinary}})
    if (of[kind] > most)
      notes.push_back("prompts." + std::string(field) + " = " + std::to_string(most) + ": " +
                      std::to_string(of[kind] - most) + " of " + std::to_string(of[kind]) +
                      " training prompts of this kind" +
                      (std::string(kind) == "ordinary" ? " or without a kind" : "") + " are not used");
}

/// What the run cannot do with its prompts: told before hours are spent.
void check_use(const RunInputs& inputs, Problems& problems, std::vector<std::string>& notes) {
  const Kinds kinds = training_kinds(inputs);
  const std::string& method = inputs.config.label.method;
  const std::string tags = "a kind tag (red-team, borderline or ordinary)";
  const std::string some =
      std::to_string(kinds.untagged()) + " of " + std::to_string(kinds.total()) + " training prompts";
  const bool are_labelled = policy_stage(inputs.config) != "sft" && kinds.total() > 0;
  const bool are_judged =
      are_labelled && judged_principles(inputs.constitution) > 0;  // else a program labels
  if (are_judged && method == "contrast" && kinds.tagged() == 0)
    problems.add("label.method: contrast needs prompts with " + tags + ", and none of the " +
                 std::to_string(kinds.total()) +
                 " training prompts has one; add tags, or set label.method=choice");
  else if (are_judged && method == "auto" && kinds.tagged() == 0)
    notes.push_back("none of the " + std::to_string(kinds.total()) + " training prompts has " + tags +
                    ": all are answered, criticised and revised under the principles, and the judge chooses "
                    "between answers (label.method=choice)");
  else if (are_judged && method != "choice" && kinds.untagged() > 0)
    notes.push_back(
        some + " have no kind tag (red-team, borderline or ordinary): labels by contrast leave them out");
  bool is_met = false;
  for (const Prompt& prompt : inputs.prompts)
    is_met = is_met || (prompt.split == "train" &&
                        !principles_for(inputs.constitution, to_json(prompt), false).empty());
  if (!is_met && kinds.total() > 0)
    problems.add(
        "constitution: no principle applies to any training prompt; see applies_to, and the prompts' tags");
  note_idle_principles(inputs, notes);
  if (!inputs.config.prompts.files.empty()) note_limits(inputs, notes);
}

void check_exam_pairs(const RunInputs& inputs) {
  const std::vector<ExamItem> items =
      exam_items(inputs.config.label, inputs.constitution, inputs.brought.exam_pairs.records, Random(0));
  if (std::none_of(items.begin(), items.end(), [](const ExamItem& item) { return item.part == "people"; }))
    throw InputError(inputs.config.label.exam_pairs.front(), 0, "holds no pair that a person decided");
}

/// A model or endpoint that gives feedback can be used.
void check_feedback(RunInputs& inputs, const std::string& feedback) {
  if (feedback == "self") return;
  if (is_endpoint(feedback)) return check_endpoint(endpoint_at(inputs.config, feedback));
  const fs::path model = find_model(feedback);
  const ModelConfig architecture = read_model_config(model);
  load_chat(model, architecture.vocabulary);
  inputs.feedback_models[feedback] = {architecture, parameter_count(architecture)};
}

void check_judge(RunInputs& inputs) {
  const Config& config = inputs.config;
  check_feedback(inputs, judge_of(config));
  if (judge_of(config) != config.feedback) check_feedback(inputs, config.feedback);
  if (!config.eval.judge.empty()) check_feedback(inputs, config.eval.judge);
  if (is_endpoint(judge_of(config)) && config.label.method == "contrast")
    throw UsageError("label.method contrast does not ask an endpoint; use auto or choice with " +
                     in_quotes(judge_of(config)));
}

// Whether no reward model has a say: then more updates cost no more judgement, and they pay
// (docs/dev/measurements/effect.md).
bool is_rewarded_by_checks(const RunInputs& inputs) {
  const std::string& reward = inputs.config.ppo.reward;
  return inputs.config.ppo.updates > 0 &&
         (reward == "checks" || (reward == "auto" && judged_principles(inputs.constitution) == 0));
}

}  // namespace

EndpointConfig endpoint_at(const Config& config, const std::string& url) {
  EndpointConfig endpoint = config.endpoint;
  endpoint.url = url;
  return endpoint;
}

CritiqueConfig critique_settings(const Config& config) {
  CritiqueConfig critique = config.critique;
  if (critique.principle == "auto") critique.principle = config.feedback == "self" ? "draw" : "ask";
  return critique;
}

ReviseConfig revise_settings(const Config& config) {
  ReviseConfig revise = config.revise;
  if (revise.judge == "auto") revise.judge = config.feedback == "self" ? "no" : "yes";
  return revise;
}

long judged_principles(const Constitution& constitution) {
  const std::vector<Principle>& all = constitution.principles;
  return std::count_if(all.begin(), all.end(), [](const Principle& p) { return p.check.empty(); });
}

std::string policy_stage(const Config& config) {
  return config.method == "dpo" ? "dpo" : config.ppo.updates > 0 ? "ppo" : "sft";
}

long prompt_count(const RunInputs& inputs) {
  const PromptsConfig& config = inputs.config.prompts;
  long red_team = 0, borderline = 0, ordinary = 0;
  for (const Prompt& prompt : inputs.prompts) {
    if (prompt.split != "train") continue;
    const std::string kind = kind_of_tags(prompt.tags);
    ++(kind == "red-team" ? red_team : kind == "borderline" ? borderline : ordinary);
  }
  long drawn = 0, wrapped = 0;
  for (const long kind : {std::min(red_team, config.red_team), std::min(borderline, config.borderline),
                          std::min(ordinary, config.ordinary)})
    drawn += kind, wrapped += wrapped_count(config, kind);
  return drawn + wrapped + config.expand;
}

bool labels_by_choice_only(const RunInputs& inputs) {
  return inputs.config.label.method == "auto" && training_kinds(inputs).tagged() == 0;
}

RunInputs check_inputs(const Config& config) {
  RunInputs inputs{.config = config};
  Problems problems;
  std::vector<std::string> notes;
  problems.attempt([&] { place_of(config.engine); });
  problems.attempt([&] {
    inputs.constitution = read_constitution(find_shipped(config.constitution));
    check_copy(inputs.constitution.file, inputs.constitution.sha256);
  });
  problems.attempt([&] {
    inputs.model = find_model(config.model);
    inputs.architecture = read_model_config(inputs.model);
    inputs.parameters = parameter_count(inputs.architecture);
    load_chat(inputs.model, inputs.architecture.vocabulary);
    inputs.model_sha256 = model_fingerprint(inputs.model);
    if (config.model == "smollm2" && inputs.model_sha256 != kPackagedModel)
      throw InputError(inputs.model.string(), 0,
                       "is damaged: its SHA-256 is " + inputs.model_sha256.substr(0, 12) + "..., expected " +
                           std::string(kPackagedModel).substr(0, 12) +
                           "...; remove it and download it again");
  });
  read_prompt_files(inputs, problems, notes);
  if (!inputs.prompts.empty() && !inputs.constitution.principles.empty()) check_use(inputs, problems, notes);
  problems.attempt([&] { check_judge(inputs); });
  bool has_suites = false;  // without them nobody knows which measures there are
  problems.attempt([&] { inputs.suites = suites_of(config.eval), has_suites = true; });
  if (has_suites) problems.attempt([&] { inputs.wrappers = wrappers_of(config.prompts, inputs.suites); });
  std::vector<Json> held_out;
  for (const Prompt& prompt : inputs.prompts)
    if (prompt.split == "held-out") held_out.push_back(to_json(prompt));
  for (const std::string& gate : config.eval.gates) {
    if (has_suites)
      problems.attempt([&] { check_gate(gate, config.eval, inputs.constitution, held_out, inputs.suites); });
  }
  inputs.brought = read_brought(config, evaluated_texts(inputs.prompts, inputs.constitution),
                                [&](const std::function<void()>& read) { problems.attempt(read); });
  notes.insert(notes.end(), inputs.brought.notes.begin(), inputs.brought.notes.end());
  if (!config.label.exam_pairs.empty() && !inputs.constitution.principles.empty())
    problems.attempt([&] { check_exam_pairs(inputs); });
  problems.attempt([&] { check_out(inputs, problems); });
  problems.throw_if_any();
  // Where the judge must choose, every verdict counts: a small model seldom says "A" or "B", and without any
  // label the run would end at the reward stage.
  if (labels_by_choice_only(inputs)) inputs.config.label.minimum_mass = 0;
  if (is_rewarded_by_checks(inputs) && !config.origin.contains("ppo.updates")) inputs.config.ppo.updates = 40;
  for (const std::string& note : notes)
    log_warning(note);
  return inputs;
}

}  // namespace cai
