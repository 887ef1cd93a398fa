// The supervised half: answers, their critiques and revisions, and fine-tuning on them (Bai et al. 2022,
// section 3).
#include <cmath>

#include "cai/pipeline/judging.hpp"
#include "cai/pipeline/stage_kinds.hpp"
#include "cai/stages/critique.hpp"
#include "cai/stages/generate.hpp"
#include "cai/stages/prompts.hpp"
#include "cai/stages/revise.hpp"
#include "cai/stages/sft.hpp"

namespace cai {
namespace {

using Names = std::vector<std::string>;

bool is_own_critic(const Config& config) {
  return config.feedback == "self";
}

// Of the stages that ask the critic: its own weights, or the policy's.
Json constitution_and_critic(const RunFacts& run) {
  Json facts = {{"constitution", run.inputs.constitution.sha256}};
  facts.update(is_own_critic(run.inputs.config) ? run.model : run.critic);
  return facts;
}

// An endpoint's settings matter only where one is asked.
Names critic_sections(const Config& config, const std::string& stage) {
  return is_endpoint(config.feedback) ? Names{stage, "engine", "endpoint"} : Names{stage, "engine"};
}

Names with_critic(const Config& config, const std::string& input) {
  return is_own_critic(config) ? Names{input, kPolicy} : Names{input};
}

StageKind prompts_stage() {
  StageKind kind{.name = "prompts"};
  kind.sections = [](const Config& config) {
    return config.prompts.expand > 0 ? Names{"prompts", "engine"} : Names{"prompts"};
  };
  kind.inputs = [](const Config& config, int) {
    return config.prompts.expand > 0 ? Names{kPolicy} : Names{};
  };
  kind.facts = [](const RunFacts& run) {
    Json facts = {{"prompt_files", Json::array()}};
    for (const PromptFile& file : run.inputs.prompt_files)
      facts["prompt_files"].push_back(file.sha256);
    if (const Names tests = test_prompts(run.inputs.constitution); !tests.empty())
      facts["tests"] = hash_of(std::vector<Json>(tests.begin(), tests.end()));
    if (!run.inputs.wrappers.sha256.empty()) facts["wrappers"] = run.inputs.wrappers.sha256;
    if (run.inputs.config.prompts.expand > 0) facts.update(run.model);
    return facts;
  };
  kind.cost = [](const Workload& work) {
    const long expand = work.config.prompts.expand;
    if (expand == 0) return Cost{std::lround(work.prompts), 0, 0};
    return work.spoken(static_cast<double>(expand), 200, 40);
  };
  kind.run = [](StageJob& job) {
    Speaker* const model = job.config.prompts.expand > 0 ? &job.policy() : nullptr;
    return prompts(job.config.prompts, job.prompts, test_prompts(job.constitution), job.wrappers, *job.out,
                   model, job.random, job.progress);
  };
  return kind;
}

StageKind generate_stage() {
  StageKind kind{.name = "generate"};
  kind.sections = [](const Config&) { return Names{"generate", "engine"}; };
  kind.inputs = [](const Config&, int) { return Names{"prompts", kPolicy}; };
  kind.facts = [](const RunFacts& run) { return run.model; };
  kind.cost = [](const Workload& work) {
    return work.spoken(work.prompts, work.kPrompt, static_cast<double>(work.config.generate.max_new_tokens));
  };
  kind.run = [](StageJob& job) {
    return generate(job.config.generate, job.records(), *job.out, job.policy(), job.random, job.progress);
  };
  return kind;
}

StageKind critique_stage() {
  // Format: principles are decided.
  StageKind kind{.name = "critique", .format = kFormat + 1, .in_rounds = true, .asks_critic = true};
  kind.sections = [](const Config& config) { return critic_sections(config, "critique"); };
  kind.inputs = [](const Config& config, int round) {
    return with_critic(config, round == 1 ? "generate" : "revise");
  };
  kind.facts = constitution_and_critic;
  kind.cost = [](const Workload& work) {
    // Worked examples cost about two questions each: a few principles' are kept.
    const double questions = 2 + 2 * static_cast<double>(work.config.critique.examples);
    const double context =
        work.kPrompt * questions + static_cast<double>(work.config.generate.max_new_tokens);
    return work.by(
        work.config.feedback,
        work.spoken(work.criticised, context, static_cast<double>(work.config.critique.max_new_tokens)));
  };
  kind.run = [](StageJob& job) {
    return critique(critique_settings(job.config), job.constitution, job.round, job.records(), *job.out,
                    job.critic(), job.random, job.progress);
  };
  return kind;
}

StageKind revise_stage() {
  // Format: filters, tries, checks.
  StageKind kind{.name = "revise", .format = kFormat + 1, .in_rounds = true, .asks_critic = true};
  kind.sections = [](const Config& config) { return critic_sections(config, "revise"); };
  kind.inputs = [](const Config& config, int) { return with_critic(config, "critique"); };
  kind.facts = constitution_and_critic;
  kind.cost = [](const Workload& work) {
    const Config& config = work.config;
    const double questions = 3 + 2 * static_cast<double>(config.revise.examples);
    const double context = work.kPrompt * questions + static_cast<double>(config.generate.max_new_tokens +
                                                                          config.critique.max_new_tokens);
    // Only answers whose revision is not kept are asked for again.
    const double tries = 1 + 0.5 * static_cast<double>(config.revise.tries - 1);
    return work.by(config.feedback, work.spoken(work.criticised * tries, context,
                                                static_cast<double>(config.revise.max_new_tokens)));
  };
  kind.run = [](StageJob& job) {
    return revise(revise_settings(job.config), job.constitution, job.records(), *job.out, job.critic(),
                  job.random, job.progress);
  };
  return kind;
}

StageKind sft_stage() {
  // Format: slopes where p is nearly 1, the newest revision that is kept.
  StageKind kind{.name = "sft", .format = kFormat + 2, .trains = true};
  kind.sections = [](const Config&) { return Names{"sft", "engine"}; };
  kind.inputs = [](const Config& config, int) {
    return Names{config.revise.rounds > 0 ? "revise" : "generate", kPolicy};
  };
  kind.facts = [](const RunFacts& run) {
    const RunInputs& inputs = run.inputs;
    Json facts = run.model;
    if (const std::vector<Json>& edits = inputs.brought.people.edits(); !edits.empty())
      facts["edits"] = hash_of(edits);
    if (const Json turns = judge_turns_facts(inputs.config, inputs.constitution, inputs.brought);
        !turns.is_null())
      facts["judge_turns"] = turns;
    return facts;
  };
  kind.cost = [](const Workload& work) {
    const Config& config = work.config;
    const SftConfig& sft = config.sft;
    const double answer = work.kPrompt + static_cast<double>(config.revise.max_new_tokens);
    const double turn = work.kPrompt * (2 + 2 * static_cast<double>(config.label.examples)) +
                        2 * static_cast<double>(config.generate.max_new_tokens);
    const Cost answers = work.trained(work.prompts, answer, sft.optimiser, sft.epochs, true);
    const Cost turns =
        work.trained(static_cast<double>(sft.judge_turns), turn, sft.optimiser, sft.epochs, true);
    return Cost{answers.records + turns.records, answers.tokens + turns.tokens,
                answers.seconds + turns.seconds};
  };
  kind.run = [](StageJob& job) {
    const std::vector<Json>& records = job.records();
    const std::vector<JudgeTurn> turns =
        judge_turns_of(job.config, job.constitution, records, job.brought, job.random.derive("judge"));
    return sft(job.config.sft, job.config.engine, with_edits(records, job.brought.people), turns, job.model(),
               job.folder, job.seed(), job.progress);
  };
  return kind;
}

}  // namespace

std::vector<StageKind> supervised_stages() {
  return {prompts_stage(), generate_stage(), critique_stage(), revise_stage(), sft_stage()};
}

}  // namespace cai
