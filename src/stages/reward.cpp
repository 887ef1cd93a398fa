#include "cai/stages/reward.hpp"

#include "cai/engine/engine.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/stages/training.hpp"
#include "cai/stages/training_pairs.hpp"

namespace cai {

Json reward(const RewardConfig& config, const EngineConfig& engine, const std::vector<Json>& labels, const HybridConfig& hybrid,
            const std::vector<Json>& human_pairs, const People& people, const std::filesystem::path& model,
            const std::filesystem::path& folder, std::uint64_t seed, const ProgressFn& progress) {
  const TrainingPairs pairs = training_pairs("reward", labels, hybrid, human_pairs, people, model, config.held_out, folder, seed);
  std::vector<std::vector<int>> samples;
  for (std::size_t i = 0; i < pairs.train.size() && samples.size() < 64; ++i) samples.push_back(pairs.train[i].a), samples.push_back(pairs.train[i].b);
  std::shared_ptr<RewardModel> reward_model = new_reward_model(*load_llama(model, uses_bfloat16(engine.dtype)), seed);
  const Json trained = train_reward(*reward_model, pairs.train, pairs.held_out, config, seed, folder, step_progress("reward", progress));
  normalise_rewards(*reward_model, samples);
  const std::filesystem::path checkpoint = fresh_checkpoint(folder);
  const std::string weights = save_reward_model(*reward_model, checkpoint);
  load_chat(model, read_model_config(model).vocabulary).tokenizer().save(checkpoint);

  Json figures = pairs.figures;
  figures["weights_sha256"] = weights;
  figures.update(trained);
  return figures;
}

}  // namespace cai
