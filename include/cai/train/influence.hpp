// Which training examples push a model towards one answer and away from another.
#pragma once

#include <vector>

#include "cai/config/config.hpp"
#include "cai/model/llama.hpp"
#include "cai/train/train.hpp"

namespace cai {

/// With f = log p(towards) - log p(away), whole answers: of each example, grad f . (-grad loss) at the
/// weights of `model`, over the layers that learn in SFT; above 0, a small step on that example's loss raises
/// f (TracIn at one checkpoint, Pruthi et al. 2020, without the optimiser's rescaling). The loss is SFT's:
/// answer tokens, weighed, by the mean weight of an example, plus the decision loss; examples that are to
/// stay as before have the decision loss alone, for from themselves they do not differ. No example's gradient
/// is made: its loss is taken at the weights a small step along grad f to both sides. `model` may have its
/// layers below them in bfloat16.
std::vector<double> influences(const Llama& model, const std::vector<TrainExample>& examples,
                               const TrainExample& towards, const TrainExample& away,
                               const SftConfig& config);

}  // namespace cai
