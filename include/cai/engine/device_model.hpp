// A model that speaks on any device: the layers of training (any_layer.hpp) over a cache of keys and values.
// No torch here.
#pragma once

#include <memory>

#include "cai/engine/speaking_model.hpp"

namespace cai {

/// Reads the weights of `model` where they are, without a copy of its own. It passes the same number of rows
/// each time, idle ones included, so that a row's result does not depend on how many others there are: of
/// decoding sequences `max_sequences`, of texts that are read kReadRows.
std::unique_ptr<SpeakingModel> device_model(const Llama& model, int max_sequences);

constexpr std::int64_t kReadRows = 512;

}  // namespace cai
