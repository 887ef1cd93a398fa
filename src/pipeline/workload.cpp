#include "cai/pipeline/workload.hpp"

#include <algorithm>
#include <cmath>
#include <thread>

#include "cai/data/tags.hpp"
#include "cai/model/adapter.hpp"
#include "cai/train/trainable.hpp"
#include "cai/train/trainer.hpp"

namespace cai {
namespace {

double weights_of_a_layer(const ModelConfig& c) {
  const double attention = static_cast<double>(c.width * c.head_width * (2 * c.heads + 2 * c.kv_heads));
  return attention + 3.0 * static_cast<double>(c.width * c.ffn_width) + 2.0 * static_cast<double>(c.width);
}

/// Operations a token of an epoch of training: what learns goes forward and back (twice the forward pass),
/// what lies below is passed once in all epochs. Weights under an adapter go back once, for they do not
/// learn.
double training_operations(const RunInputs& inputs, const OptimiserConfig& optimiser, long epochs,
                           bool with_head) {
  const ModelConfig& c = inputs.architecture;
  const std::int64_t first = first_trainable_layer(c, optimiser);
  const double learns = learning_weights(inputs, optimiser);
  const double head = static_cast<double>(c.vocabulary * c.width);
  if (optimiser.lora.rank > 0) {
    const double adapted = static_cast<double>(c.layers - first) * weights_of_a_layer(c);
    const double below = static_cast<double>(first) * weights_of_a_layer(c);
    return 2 * below / static_cast<double>(std::max(1L, epochs)) + 4 * adapted + 6 * learns +
           (with_head ? 4 * head : 0);
  }
  if (first == 0) return 6 * inputs.parameters;
  const double below = std::max(0.0, inputs.parameters - learns - head);
  return 2 * below / static_cast<double>(std::max(1L, epochs)) + 6 * learns + (with_head ? 4 * head : 0);
}

/// Training prompts of a kind ("": without one), at most `most`.
double prompts_of_kind(const RunInputs& inputs, const std::string& kind, long most) {
  const auto is_of_kind = [&](const Prompt& p) { return p.split == "train" && kind_of_tags(p.tags) == kind; };
  const long found = std::count_if(inputs.prompts.begin(), inputs.prompts.end(), is_of_kind);
  return static_cast<double>(std::min(most, found));
}

double criticised_prompts(const RunInputs& inputs, double all) {
  const PromptsConfig& config = inputs.config.prompts;
  const std::vector<Principle>& principles = inputs.constitution.principles;
  const auto has_check = [](const Principle& p) { return !p.check.empty(); };
  if (inputs.config.critique.harmless || std::any_of(principles.begin(), principles.end(), has_check))
    return all;
  const double questionable =
      prompts_of_kind(inputs, "red-team", config.red_team) + prompts_of_kind(inputs, "", config.ordinary);
  return std::min(all, questionable + static_cast<double>(config.expand));
}

double candidates_of_a_prompt(const RunInputs& inputs) {
  const Config& config = inputs.config;
  const bool by_choice = config.label.method == "choice" || labels_by_choice_only(inputs);
  return static_cast<double>(config.candidates.per_prompt + (by_choice ? 0 : config.candidates.plain));
}

}  // namespace

double learning_weights(const RunInputs& inputs, const OptimiserConfig& optimiser) {
  const ModelConfig& c = inputs.architecture;
  const std::int64_t first = first_trainable_layer(c, optimiser);
  const double layers = static_cast<double>(c.layers - first);
  if (optimiser.lora.rank > 0) {
    std::int64_t sides = 0;  // of the matrices with an adapter
    for (const AdaptedModule& module : adapted_modules(c, optimiser.lora))
      sides += module.in + module.rows();
    return layers * static_cast<double>(optimiser.lora.rank * sides);
  }
  if (first == 0) return inputs.parameters;
  return layers * weights_of_a_layer(c) + static_cast<double>(c.width);
}

Workload::Workload(const RunInputs& run) : inputs(run), config(run.config) {
  const double cores = config.engine.threads > 0 ? static_cast<double>(config.engine.threads)
                                                 : std::max(1u, std::thread::hardware_concurrency());
  const double token = 2 * inputs.parameters;  // operations
  // Measured on a core that multiplies bfloat16 (docs/dev/measurements/performance.md), in operations a
  // second.
  decode = 170e9 * cores / token;
  prefill = 250e9 * cores / token;
  train = 150e9 * cores;
  prompts = static_cast<double>(prompt_count(inputs));
  criticised = criticised_prompts(inputs, prompts);
  compared = std::min(prompts, static_cast<double>(config.candidates.prompts));
  candidates = candidates_of_a_prompt(inputs);
  pairs = compared * std::max(1.0, candidates / 2);
  pair_tokens = 2 * (kPrompt + static_cast<double>(config.candidates.max_new_tokens));
}

Cost Workload::by(const std::string& feedback, Cost cost) const {
  const auto found = inputs.feedback_models.find(feedback);
  if (found != inputs.feedback_models.end()) cost.seconds *= found->second.parameters / inputs.parameters;
  return cost;
}

Cost Workload::spoken(double records, double context, double answer) const {
  return {std::lround(records), records * (context + answer),
          records * (context / prefill + answer / decode)};
}

Cost Workload::trained(double examples, double tokens, const OptimiserConfig& optimiser, long epochs,
                       bool with_head) const {
  const double all = examples * static_cast<double>(epochs);
  const double operations = training_operations(inputs, optimiser, epochs, with_head);
  return {std::lround(all), all * tokens, all * tokens * operations / train};
}

}  // namespace cai
