#include "cai/stages/dpo.hpp"

#include "cai/base/log.hpp"
#include "cai/engine/devices.hpp"
#include "cai/model/checkpoint.hpp"
#include "cai/model/config.hpp"
#include "cai/stages/trained_adapter.hpp"
#include "cai/stages/training.hpp"
#include "cai/stages/training_pairs.hpp"

namespace cai {

Json dpo(const DpoConfig& config, const EngineConfig& engine, const std::vector<Json>& labels,
         const HybridConfig& hybrid, const std::vector<Json>& human_pairs, const People& people,
         const std::filesystem::path& model, const std::filesystem::path& folder, std::uint64_t seed,
         const ProgressFn& progress) {
  const TrainingPairs pairs =
      training_pairs("dpo", labels, hybrid, human_pairs, people, model, config.held_out, folder, seed);
  const std::shared_ptr<Llama> policy = load_llama(model, place_of(engine));
  log_info("dpo: the reference is asked about " +
           std::to_string(2 * (pairs.train.size() + pairs.held_out.size())) +
           " answers before the first step");
  const Json trained =
      train_dpo(*policy, pairs.train, pairs.held_out, config, seed, folder, step_progress("dpo", progress));
  const std::filesystem::path checkpoint = fresh_checkpoint(folder);
  const std::string weights = save_llama(*policy, checkpoint);
  const Json adapter = keep_adapter(*policy, model, folder);
  load_chat(model, read_model_config(model).vocabulary).save(checkpoint);

  Json figures = pairs.figures;
  figures["weights_sha256"] = weights;
  if (!adapter.is_null()) figures["adapter"] = adapter;
  figures.update(trained);
  return figures;
}

}  // namespace cai
