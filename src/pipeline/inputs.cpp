#include "cai/pipeline/inputs.hpp"

#include <algorithm>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/data/decisions.hpp"
#include "cai/data/pair_import.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/gguf.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/home.hpp"
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

constexpr const char* kPackagedModel = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";  // as in scripts/fetch-model

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

}  // namespace

std::string policy_stage(const Config& config) { return config.method == "dpo" ? "dpo" : config.ppo.updates > 0 ? "ppo" : "sft"; }

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
                       std::string(kPackagedModel).substr(0, 12) + "...; remove it and fetch it again");
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

}  // namespace cai
