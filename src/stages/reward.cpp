#include "cai/stages/reward.hpp"

#include <cstdio>

#include "cai/base/log.hpp"
#include "cai/engine/devices.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/stages/trained_adapter.hpp"
#include "cai/stages/training.hpp"
#include "cai/stages/training_pairs.hpp"

namespace cai {
namespace {

// What a policy would learn from this reward model where it is not known to be better than chance, one
// sentence a kind of prompt.
std::vector<std::string> doubts_of(const Json& held_out) {
  std::vector<std::string> doubts;
  for (const auto& [kind, accuracy] : held_out.at("accuracy_by_kind").items()) {
    if (accuracy.at("low").get<double>() > 0.5) continue;
    char figures[96];
    std::snprintf(figures, sizeof figures, "%.2f [%.2f, %.2f] of %ld held-out pairs",
                  accuracy["value"].get<double>(), accuracy["low"].get<double>(),
                  accuracy["high"].get<double>(), accuracy["n"].get<long>());
    doubts.push_back("the reward model is not known to be better than chance on " + kind + " prompts (" +
                     figures +
                     "): what is learned from it there is noise; compare sl-cai and rl-cai in the report");
  }
  return doubts;
}

}  // namespace

Json reward(const RewardConfig& config, const EngineConfig& engine, const std::vector<Json>& labels,
            const HybridConfig& hybrid, const std::vector<Json>& human_pairs, const People& people,
            const std::filesystem::path& model, const std::filesystem::path& folder, std::uint64_t seed,
            const ProgressFn& progress) {
  const TrainingPairs pairs =
      training_pairs("reward", labels, hybrid, human_pairs, people, model, config.held_out, folder, seed);
  std::vector<std::vector<int>> samples;
  for (std::size_t i = 0; i < pairs.train.size() && samples.size() < 64; ++i)
    samples.push_back(pairs.train[i].a), samples.push_back(pairs.train[i].b);
  std::shared_ptr<RewardModel> reward_model =
      new_reward_model(*load_llama(model, place_of(engine)), seed, config.layers);
  const Json trained = train_reward(*reward_model, pairs.train, pairs.held_out, config, seed, folder,
                                    step_progress("reward", progress));
  normalise_rewards(*reward_model, samples);
  const std::filesystem::path checkpoint = fresh_checkpoint(folder);
  const std::string weights = save_reward_model(*reward_model, checkpoint);
  const Json adapter = keep_adapter(*reward_model, model, folder);
  load_chat(model, read_model_config(model).vocabulary).save(checkpoint);

  Json figures = pairs.figures;
  figures["weights_sha256"] = weights;
  if (!adapter.is_null()) figures["adapter"] = adapter;
  figures.update(trained);
  figures["doubts"] = Json::array();
  if (figures.contains("held_out") && figures["held_out"].is_object())
    figures["doubts"] = doubts_of(figures["held_out"]);
  for (const Json& doubt : figures["doubts"])
    log_warning("reward: " + doubt.get<std::string>());
  return figures;
}

}  // namespace cai
