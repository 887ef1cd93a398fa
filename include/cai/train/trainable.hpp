// Which weights learn by a stage's settings: those of the model, or an adapter's.
#pragma once

#include <cstdint>

#include "cai/train/trainer.hpp"

namespace cai {

/// First layer that learns: of an adapter where lora.rank is above 0, else as trainable_layers has it.
std::int64_t first_trainable_layer(const ModelConfig& config, const OptimiserConfig& optimiser);

/// What learns: an adapter on frozen weights, under PEFT's names, where lora.rank is above 0, else the
/// weights that trainable_layers names. An adapter of these settings that the model has already is copied and
/// learns on; any other is merged first.
NamedTensors make_trainable(Llama& model, const OptimiserConfig& optimiser, std::uint64_t seed,
                            bool with_head = true);

}  // namespace cai
