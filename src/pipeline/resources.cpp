#include "cai/data/tags.hpp"
#include "cai/pipeline/resources.hpp"

#include <sys/resource.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <set>
#include <thread>

#include "cai/engine/engine.hpp"
#include "cai/engine/packed_model.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

std::string gigabytes(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GB", bytes / 1e9);
  return text;
}

/// Parameters that a training section's optimiser owns.
double learning(const RunInputs& inputs, const OptimiserConfig& optimiser) {
  const ModelConfig& c = inputs.architecture;
  const std::int64_t first = first_trainable_layer(c, optimiser.trainable_layers);
  if (first == 0) return inputs.parameters;
  const double attention = static_cast<double>(c.width * c.head_width * (2 * c.heads + 2 * c.kv_heads));
  const double layer =
      attention + 3.0 * static_cast<double>(c.width * c.ffn_width) + 2.0 * static_cast<double>(c.width);
  return static_cast<double>(c.layers - first) * layer + static_cast<double>(c.width);
}

/// Operations a token of an epoch of training: what learns goes forward and back (twice the forward pass),
/// what lies below is passed once in all epochs.
double training_operations(const RunInputs& inputs, const OptimiserConfig& optimiser, long epochs,
                           bool with_head) {
  const double learns = learning(inputs, optimiser),
               head = static_cast<double>(inputs.architecture.vocabulary * inputs.architecture.width);
  if (first_trainable_layer(inputs.architecture, optimiser.trainable_layers) == 0)
    return 6 * inputs.parameters;
  return 2 * std::max(0.0, inputs.parameters - learns - head) / static_cast<double>(std::max(1L, epochs)) +
         6 * learns + (with_head ? 4 * head : 0);
}

double folder_bytes(const fs::path& folder) {
  double bytes = 0;
  std::error_code gone;
  for (auto entry = fs::recursive_directory_iterator(folder, gone);
       !gone && entry != fs::recursive_directory_iterator(); entry.increment(gone)) {
    std::error_code ignored;
    const bool is_aside = entry->path().string().find(".stale-") != std::string::npos;
    if (!is_aside && entry->is_regular_file(ignored)) bytes += static_cast<double>(entry->file_size(ignored));
  }
  return bytes;
}

/// The first number in a file, or `otherwise` when there is none ("max").
double number_in(const char* file, double otherwise) {
  std::ifstream in(file);
  double value = 0;
  return in >> value ? value : otherwise;
}

}  // namespace

double disk_estimate(const RunInputs& inputs) {
  // Three checkpoints an iteration in float32. While a stage trains, two states beside them: weights and two
  // moments of what learns.
  const double checkpoint = 4 * inputs.parameters;
  const double records = 8e3 * static_cast<double>(prompt_count(inputs)) *
                         static_cast<double>(4 + 2 * inputs.config.revise.rounds);
  const Config& c = inputs.config;
  double learns = learning(inputs, c.sft.optimiser);
  const std::string policy = policy_stage(c);
  if (policy == "ppo")
    learns = std::max({learns, learning(inputs, c.reward.optimiser),
                       (c.ppo.advantage == "gae" ? 2 : 1) * learning(inputs, c.ppo.optimiser)});
  if (policy == "dpo") learns = std::max(learns, learning(inputs, c.dpo.optimiser));
  return static_cast<double>(c.iterations) * ((policy == "ppo"   ? 3
                                               : policy == "dpo" ? 2
                                                                 : 1) *
                                                  checkpoint +
                                              records) +
         2 * 3 * 4 * learns + 50e6;
}

double memory_estimate(const RunInputs& inputs) {
  const Config& c = inputs.config;
  const ModelConfig& m = inputs.architecture;
  const double weights = 4 * inputs.parameters, width = static_cast<double>(m.width),
               layers = static_cast<double>(m.layers);
  // An engine keeps weights in its own order and the keys and values of all sequences at once; torch itself
  // takes 0.4 GB.
  const std::int64_t longest =
      std::max({c.generate.max_new_tokens, c.critique.max_new_tokens, c.revise.max_new_tokens,
                c.candidates.max_new_tokens, c.eval.max_new_tokens}) +
      512;
  const double kept =
      2 * layers *
      static_cast<double>(m.kv_heads * cache_bytes(cached_of(m, c.engine.dtype), longest, m.head_width)) *
      static_cast<double>(c.engine.max_sequences);
  // What one micro-batch keeps for the way back: about 16 rows of width and 3 of the feed-forward's a layer
  // and token; logits of one part.
  const double tokens = static_cast<double>(kMicroBatchTokens);
  const auto activations = [&](const OptimiserConfig& o) {
    const double learning_layers = layers - static_cast<double>(first_trainable_layer(m, o.trainable_layers));
    return 4 * tokens * learning_layers * (16 * width + 3 * static_cast<double>(m.ffn_width)) +
           2 * 4 * tokens * static_cast<double>(m.vocabulary);
  };
  // Copies of what learns: weights, gradients, two moments, weights in bfloat16.
  const double speaks =
      2 * (weights + 4 * static_cast<double>(m.vocabulary) * width) +
      kept;  // with the embedding as it is; candidates have two engines, one after the other
  const auto trains = [&](const OptimiserConfig& o) {
    return weights + 18 * learning(inputs, o) + activations(o) + 1.1e9;
  };  // and states below the learning layers
  double most = std::max(speaks, trains(c.sft.optimiser));
  if (c.sft.unrevised == "distribution")  // the weights from before stay, and the states that they give
    most = std::max(most, trains(c.sft.optimiser) + 4 * learning(inputs, c.sft.optimiser) +
                              std::min(1.1e9, 4 * width * static_cast<double>(prompt_count(inputs)) *
                                                  static_cast<double>(c.generate.max_new_tokens)));
  if (policy_stage(c) == "dpo") most = std::max(most, trains(c.dpo.optimiser));
  if (policy_stage(c) == "ppo") {
    // A policy and a value model that learn have one gradient and take turns; the reference and the reward
    // model are frozen.
    const double models = c.ppo.advantage == "gae" ? 2 : 1,
                 frozen = trains_in_bfloat16(c.engine.dtype) ? 2 * inputs.parameters : weights;
    most = std::max(most, trains(c.reward.optimiser));
    most =
        std::max(most, weights + 2 * frozen + kept + (models * 14 + 4) * learning(inputs, c.ppo.optimiser) +
                           2 * activations(c.ppo.optimiser));
  }
  return most + 0.4e9;
}

std::string disk_problem(const RunInputs& inputs, const fs::path& out, const fs::path& parent) {
  const double need = std::max(0.0, disk_estimate(inputs) - folder_bytes(out)),
               have = static_cast<double>(fs::space(parent).available);
  return have < need ? out.string() + ": the run needs up to " + gigabytes(need) + " of disk, " +
                           gigabytes(have) + " are free"
                     : "";
}

std::string memory_problem(const RunInputs& inputs) {
  struct sysinfo machine {};
  sysinfo(&machine);
  double have = static_cast<double>(machine.totalram) * machine.mem_unit;
  have = std::min(have, number_in("/sys/fs/cgroup/memory.max", have));
  have = std::min(have, number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes", have));
  struct rlimit limit {};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    have = std::min(have, static_cast<double>(limit.rlim_cur));
  const double need = memory_estimate(inputs);
  return have < need
             ? "the run needs about " + gigabytes(need) + " of memory, there are " + gigabytes(have) +
                   "; a smaller model, fewer trainable_layers or a lower engine.max_sequences needs less"
             : "";
}

Cost estimate(const RunInputs& inputs, const std::string& stage) {
  const Config& config = inputs.config;
  // Measured on a core that multiplies bfloat16 (docs/performance.md), in operations a second: decoding,
  // prompts, training.
  double cores = config.engine.threads > 0 ? static_cast<double>(config.engine.threads)
                                           : std::max(1u, std::thread::hardware_concurrency());
  double flop = 2 * inputs.parameters;
  double decode = 170e9 * cores / flop, prefill = 250e9 * cores / flop, train = 150e9 * cores;
  constexpr double kPrompt = 40;  // tokens of a question with its template
  auto spoken = [&](double records, double context, double answer) {
    return Cost{std::lround(records), records * (context + answer),
                records * (context / prefill + answer / decode)};
  };
  auto trained = [&](double examples, double tokens, double operations) {
    return Cost{std::lround(examples), examples * tokens, examples * tokens * operations / train};
  };

  double prompts = static_cast<double>(prompt_count(inputs));
  const auto of_kind = [&](const std::string& kind, long most) {
    const auto is_of_kind = [&](const Prompt& p) {
      return p.split == "train" && kind_of_tags(p.tags) == kind;
    };
    return static_cast<double>(
        std::min<long>(most, std::count_if(inputs.prompts.begin(), inputs.prompts.end(), is_of_kind)));
  };
  const double questionable =
      of_kind("red-team", config.prompts.red_team) + of_kind("", config.prompts.ordinary);
  const double criticised =
      config.critique.harmless ? prompts
                               : std::min(prompts, questionable + static_cast<double>(config.prompts.expand));
  double compared = std::min(prompts, static_cast<double>(config.candidates.prompts));
  if (stage == "prompts")
    return spoken(static_cast<double>(config.prompts.expand), 200, 40).records
               ? spoken(config.prompts.expand, 200, 40)
               : Cost{std::lround(prompts), 0, 0};
  if (stage == "generate") return spoken(prompts, kPrompt, config.generate.max_new_tokens);
  // Worked examples cost about two questions each: a few principles' are kept.
  if (stage == "critique")
    return spoken(criticised, kPrompt * (2 + 2 * config.critique.examples) + config.generate.max_new_tokens,
                  config.critique.max_new_tokens);
  if (stage == "revise")
    return spoken(criticised,
                  kPrompt * (3 + 2 * config.revise.examples) + config.generate.max_new_tokens +
                      config.critique.max_new_tokens,
                  config.revise.max_new_tokens);
  if (stage == "sft") {
    const double operations = training_operations(inputs, config.sft.optimiser, config.sft.epochs, true);
    const Cost answers =
        trained(prompts * config.sft.epochs, kPrompt + config.revise.max_new_tokens, operations);
    const Cost turns =
        trained(static_cast<double>(config.sft.judge_turns * config.sft.epochs),
                kPrompt * (2 + 2 * config.label.examples) + 2 * config.generate.max_new_tokens, operations);
    return {answers.records + turns.records, answers.tokens + turns.tokens, answers.seconds + turns.seconds};
  }
  if (stage == "exam")
    return spoken((config.label.feedback == "self" ? 120 : 60) + (config.label.exam_pairs.empty() ? 0 : 400),
                  300, 0);
  const bool by_choice = config.label.method == "choice" || labels_by_choice_only(inputs);
  const double answers =
      static_cast<double>(config.candidates.per_prompt + (by_choice ? 0 : config.candidates.plain));
  if (stage == "candidates") return spoken(compared * answers, 3 * kPrompt, config.candidates.max_new_tokens);
  if (stage == "label") {
    double pairs = compared * config.candidates.per_prompt * (config.candidates.per_prompt - 1) / 2;
    if (config.label.method == "contrast")
      return {std::lround(pairs), 0, 0};  // known by construction; "auto" may turn out so
    return spoken(pairs, 2 * config.label.principles * (2 * kPrompt + 2 * config.candidates.max_new_tokens),
                  config.label.max_reason_tokens);
  }
  const double pairs = compared * std::max(1.0, answers / 2),
               pair = 2 * (kPrompt + static_cast<double>(config.candidates.max_new_tokens));
  if (stage == "reward")
    return trained(pairs * config.reward.epochs, pair,
                   training_operations(inputs, config.reward.optimiser, config.reward.epochs, false));
  if (stage == "dpo")
    return trained(pairs * config.dpo.epochs, 1.5 * pair,
                   training_operations(inputs, config.dpo.optimiser, config.dpo.epochs,
                                       true));  // a third of it for the reference
  if (stage == "ppo") {
    double rollouts = static_cast<double>(config.ppo.updates * config.ppo.prompts_per_update *
                                          config.ppo.samples_per_prompt);
    Cost sampled = spoken(rollouts + 2 * std::clamp(rollouts, 16.0, 160.0), kPrompt,
                          config.ppo.max_new_tokens);  // answers before and after too
    // The policy, and with GAE the value model, learn each epoch; they, the reference and the reward model
    // read once.
    const double models = config.ppo.advantage == "gae" ? 2 : 1,
                 tokens = kPrompt + static_cast<double>(config.ppo.max_new_tokens);
    Cost learned = trained(rollouts * models * config.ppo.epochs, tokens,
                           training_operations(inputs, config.ppo.optimiser, config.ppo.epochs, true));
    learned.seconds +=
        rollouts * tokens * (models + 2) * (flop / 2) / train;  // about half: lower layers are shared
    return {sampled.records, sampled.tokens + learned.tokens, sampled.seconds + learned.seconds};
  }
  if (stage == "eval") {
    const EvalConfig& eval = config.eval;
    std::set<std::string> attacks;
    for (const Attack& attack : inputs.suites.attacks)
      attacks.insert(attack.name);
    long harmful = std::min(eval.suite_prompts, eval.red_team),
         harmless = std::min(eval.suite_prompts, eval.borderline);
    long plain = eval.red_team + eval.ordinary + eval.borderline,
         attacked = static_cast<long>(attacks.size()) * harmful;
    long framed = inputs.suites.framings.empty() ? 0 : 2 * (harmful + harmless);
    Cost asked = spoken(3 * static_cast<double>(plain + attacked + framed), 4 * kPrompt + eval.max_new_tokens,
                        eval.max_new_tokens);
    Cost scored = spoken(3 * static_cast<double>(inputs.suites.texts.size() + inputs.suites.questions.size()),
                         2 * kPrompt, 0);
    return {asked.records + scored.records, asked.tokens + scored.tokens, asked.seconds + scored.seconds};
  }
  return {};
}

}  // namespace cai
