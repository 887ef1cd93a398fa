#include "cai/train/trainable.hpp"

#include "cai/model/adapter.hpp"

namespace cai {

std::int64_t first_trainable_layer(const ModelConfig& config, const OptimiserConfig& optimiser) {
  return optimiser.lora.rank > 0 ? first_adapted_layer(config, optimiser.lora)
                                 : first_trainable_layer(config, optimiser.trainable_layers);
}

NamedTensors make_trainable(Llama& model, const OptimiserConfig& optimiser, std::uint64_t seed,
                            bool with_head) {
  const LoraConfig& lora = optimiser.lora;
  if (lora.rank == 0) {
    model = merged(model);
    return make_trainable(model, optimiser.trainable_layers, with_head);
  }
  if (has_adapter(model, lora)) {
    own_adapter(model);
  } else {
    model = merged(model);
    add_adapter(model, lora, seed);
  }
  const NamedTensors learning = adapter_weights(model);
  for (const auto& [name, w] : learning)
    w.requires_grad_(true);
  return learning;
}

}  // namespace cai
