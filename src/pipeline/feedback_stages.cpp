// The half with AI feedback: pairs of answers, labels on them, and learning from the labels; then the
// evaluation (Bai et al. 2022, section 4).
#include <algorithm>
#include <cmath>

#include "cai/pipeline/stage_kinds.hpp"
#include "cai/stages/candidates.hpp"
#include "cai/stages/dpo.hpp"
#include "cai/stages/label.hpp"
#include "cai/stages/ppo.hpp"
#include "cai/stages/reward.hpp"

namespace cai {
namespace {

using Names = std::vector<std::string>;

bool has_labels(const Config& config) {
  return policy_stage(config) != "sft";
}

bool is_by_dpo(const Config& config) {
  return policy_stage(config) == "dpo";
}

bool is_by_ppo(const Config& config) {
  return policy_stage(config) == "ppo";
}

Json constitution_fact(const RunFacts& run) {
  return {{"constitution", run.inputs.constitution.sha256}};
}

Json constitution_and_judge(const RunFacts& run) {
  Json facts = constitution_fact(run);
  facts.update(run.judge);
  return facts;
}

/// Of the stages that ask the judge. An endpoint's settings matter only where one is asked.
Names judge_sections(const Config& config) {
  return is_endpoint(judge_of(config)) ? Names{"label", "engine", "endpoint"} : Names{"label", "engine"};
}

bool uses_people(const Config& config) {
  return !config.hybrid.decisions.empty() || !config.hybrid.pairs.empty();
}

Json facts_of_people(const RunFacts& run) {
  const HybridConfig& hybrid = run.inputs.config.hybrid;
  Json facts = Json::object();
  if (!hybrid.decisions.empty()) facts["decisions"] = run.inputs.brought.decision_hashes;
  if (!hybrid.pairs.empty()) facts["human_pairs"] = run.inputs.brought.pairs.hashes;
  return facts;
}

StageKind exam_stage() {
  // Format: quoted answers, tests that ask for help under no principle.
  StageKind kind{.name = "exam", .format = kFormat + 2, .asks_judge = true};
  kind.is_in_run = has_labels;
  kind.sections = judge_sections;
  kind.inputs = [](const Config& config, int) {
    return judge_of(config) == "self" ? Names{kPolicy, "sft"} : Names{};
  };
  kind.facts = [](const RunFacts& run) {
    Json facts = constitution_and_judge(run);
    facts["exam_pairs"] = run.inputs.brought.exam_pairs.hashes;
    if (judge_of(run.inputs.config) == "self") facts.update(run.model);
    return facts;
  };
  kind.cost = [](const Workload& work) {
    const std::string& judge = judge_of(work.config);
    const double questions = (judge == "self" ? 120 : 60) + (work.config.label.exam_pairs.empty() ? 0 : 400);
    return work.by(judge, work.spoken(questions, 300, 0));
  };
  kind.run = [](StageJob& job) {
    return exam(job.config.label, job.constitution, job.brought.exam_pairs.records, job.examinees(), *job.out,
                job.random);
  };
  return kind;
}

StageKind candidates_stage() {
  StageKind kind{.name = "candidates", .format = kFormat + 1};  // principles of the most specific tag
  kind.is_in_run = has_labels;
  kind.sections = [](const Config&) { return Names{"candidates", "engine"}; };
  kind.inputs = [](const Config&, int) { return Names{"prompts", "sft", "exam"}; };
  kind.facts = constitution_fact;
  kind.cost = [](const Workload& work) {
    return work.spoken(work.compared * work.candidates, 3 * work.kPrompt,
                       static_cast<double>(work.config.candidates.max_new_tokens));
  };
  kind.run = [](StageJob& job) {
    const bool contrast = job.contrast();
    Speaker* const initial = contrast ? job.initial() : nullptr;
    return candidates(job.config.candidates, job.constitution, contrast, job.records(), *job.out,
                      job.policy(), initial, job.random, job.progress);
  };
  return kind;
}

StageKind label_stage() {
  // Format: quoted answers, verdicts need probability on A and B, checks.
  StageKind kind{.name = "label", .format = kFormat + 3, .asks_judge = true};
  kind.is_in_run = has_labels;
  kind.sections = judge_sections;
  kind.inputs = [](const Config& config, int) {
    return judge_of(config) == "self" ? Names{"candidates", "exam", "sft"} : Names{"candidates", "exam"};
  };
  kind.facts = [](const RunFacts& run) {
    Json facts = constitution_and_judge(run);
    if (!run.inputs.config.hybrid.decisions.empty()) facts["decisions"] = run.inputs.brought.decision_hashes;
    return facts;
  };
  kind.cost = [](const Workload& work) {
    const Config& config = work.config;
    const double answers = static_cast<double>(config.candidates.per_prompt);
    const double pairs = work.compared * answers * (answers - 1) / 2;
    if (config.label.method == "contrast")  // known by construction; "auto" may turn out so
      return Cost{std::lround(pairs), 0, 0};
    const double question = 2 * work.kPrompt + 2 * static_cast<double>(config.candidates.max_new_tokens);
    const double words =
        config.label.chain_of_thought ? static_cast<double>(config.label.max_reason_tokens) : 0;
    return work.by(judge_of(config),
                   work.spoken(pairs, 2 * static_cast<double>(config.label.principles) * question, words));
  };
  kind.run = [](StageJob& job) {
    const bool contrast = job.contrast();
    return label(job.config.label, job.constitution, contrast, job.records(), job.brought.people, *job.out,
                 job.judge(contrast), job.random, job.progress);
  };
  return kind;
}

StageKind dpo_stage() {
  StageKind kind{.name = "dpo", .format = kFormat + 1, .trains = true};  // slopes where p is nearly 1
  kind.is_in_run = is_by_dpo;
  kind.sections = [](const Config& config) {
    return uses_people(config) ? Names{"dpo", "engine", "hybrid"} : Names{"dpo", "engine"};
  };
  kind.inputs = [](const Config&, int) { return Names{"label", "sft"}; };
  kind.facts = facts_of_people;
  kind.cost = [](const Workload& work) {
    const DpoConfig& dpo = work.config.dpo;
    // a third of it for the reference
    return work.trained(work.pairs, 1.5 * work.pair_tokens, dpo.optimiser, dpo.epochs, true);
  };
  kind.run = [](StageJob& job) {
    return dpo(job.config.dpo, job.config.engine, job.records(), job.config.hybrid, job.brought.pairs.records,
               job.brought.people, job.model(), job.folder, job.seed(), job.progress);
  };
  return kind;
}

StageKind reward_stage() {
  StageKind kind{.name = "reward", .trains = true};
  kind.is_in_run = is_by_ppo;
  kind.sections = [](const Config& config) {
    return uses_people(config) ? Names{"reward", "engine", "hybrid"} : Names{"reward", "engine"};
  };
  kind.inputs = [](const Config&, int) { return Names{"label", "sft"}; };
  kind.facts = facts_of_people;
  kind.cost = [](const Workload& work) {
    const RewardConfig& reward = work.config.reward;
    return work.trained(work.pairs, work.pair_tokens, reward.optimiser, reward.epochs, false);
  };
  kind.run = [](StageJob& job) {
    return reward(job.config.reward, job.config.engine, job.records(), job.config.hybrid,
                  job.brought.pairs.records, job.brought.people, job.model(), job.folder, job.seed(),
                  job.progress);
  };
  return kind;
}

Cost ppo_cost(const Workload& work) {
  const PpoConfig& ppo = work.config.ppo;
  const double rollouts = static_cast<double>(ppo.updates * ppo.prompts_per_update * ppo.samples_per_prompt);
  const double measured = 2 * std::clamp(rollouts, 16.0, 160.0);  // answers before and after
  const double answer = static_cast<double>(ppo.max_new_tokens), tokens = work.kPrompt + answer;
  const Cost sampled = work.spoken(rollouts + measured, work.kPrompt, answer);
  // The policy, and with GAE the value model, learn each epoch; they, the reference and the reward model read
  // once.
  const double models = ppo.advantage == "gae" ? 2 : 1;
  const Cost learned = work.trained(rollouts * models, tokens, ppo.optimiser, ppo.epochs, true);
  // about half of what reading takes: lower layers are shared
  const double reading = rollouts * tokens * (models + 2) * work.inputs.parameters / work.train;
  return {sampled.records, sampled.tokens + learned.tokens, sampled.seconds + learned.seconds + reading};
}

StageKind ppo_stage() {
  // Format: slopes where p is nearly 1, checks in the reward.
  StageKind kind{.name = "ppo", .format = kFormat + 2, .trains = true};
  kind.is_in_run = is_by_ppo;
  kind.sections = [](const Config&) { return Names{"ppo", "engine"}; };
  kind.inputs = [](const Config&, int) { return Names{"prompts", "sft", "reward"}; };
  kind.facts = [](const RunFacts& run) {
    const std::string& reward = run.inputs.config.ppo.reward;
    const std::vector<Principle>& all = run.inputs.constitution.principles;
    const bool has_checks =
        std::any_of(all.begin(), all.end(), [](const Principle& p) { return !p.check.empty(); });
    return has_checks && (reward == "auto" || reward == "checks") ? constitution_fact(run) : Json::object();
  };
  kind.cost = ppo_cost;
  kind.run = [](StageJob& job) {
    return ppo(job.config.ppo, job.config.engine, job.constitution, job.records(), job.model(),
               job.reward_model(), job.folder, job.seed(), job.progress);
  };
  return kind;
}

Cost eval_cost(const Workload& work) {
  const EvalConfig& eval = work.config.eval;
  const Suites& suites = work.inputs.suites;
  std::set<std::string> attacks;
  for (const Attack& attack : suites.attacks)
    attacks.insert(attack.name);
  const long harmful = std::min(eval.suite_prompts, eval.red_team);
  const long harmless = std::min(eval.suite_prompts, eval.borderline);
  const long plain = eval.red_team + eval.ordinary + eval.borderline;
  const long attacked = static_cast<long>(attacks.size()) * harmful;
  const long framed = suites.framings.empty() ? 0 : 2 * (harmful + harmless);
  const double answer = static_cast<double>(eval.max_new_tokens);
  const Cost asked =
      work.spoken(3 * static_cast<double>(plain + attacked + framed), 4 * work.kPrompt + answer, answer);
  const Cost scored = work.spoken(3 * static_cast<double>(suites.texts.size() + suites.questions.size()),
                                  2 * work.kPrompt, 0);
  return {asked.records + scored.records, asked.tokens + scored.tokens, asked.seconds + scored.seconds};
}

StageKind eval_stage() {
  StageKind kind{.name = "eval", .loads_models = true, .files = {"failures.jsonl"}};
  kind.sections = [](const Config&) { return Names{"eval", "engine"}; };
  kind.inputs = [](const Config& config, int) {
    return has_labels(config) ? Names{"sft", policy_stage(config)} : Names{"sft"};
  };
  kind.facts = [](const RunFacts& run) {
    Json files = Json::array();
    for (const PromptFile& file : run.inputs.prompt_files)
      files.push_back(file.sha256);
    Json facts = {{"prompt_files", files},
                  {"base", run.inputs.model_sha256},
                  {"suites", run.inputs.suites.sha256},
                  {"constitution", run.inputs.constitution.sha256}};
    facts.update(run.eval_judge);
    return facts;
  };
  kind.cost = eval_cost;
  kind.run = [](StageJob& job) {
    const Evaluation it = job.evaluation();
    // What is drawn of the prompts is the same in every iteration: a prompt that is left out because a model
    // failed on it would make the next one look better.
    return eval(job.config.eval, job.constitution, it.prompts, it.suites, it.topics, it.models,
                job.config.engine, job.folder, *job.out, random_of_stage(job.config, "eval", 1, 0),
                job.progress, it.judge);
  };
  return kind;
}

}  // namespace

std::vector<StageKind> feedback_stages() {
  return {exam_stage(),   candidates_stage(), label_stage(), dpo_stage(),
          reward_stage(), ppo_stage(),        eval_stage()};
}

}  // namespace cai
