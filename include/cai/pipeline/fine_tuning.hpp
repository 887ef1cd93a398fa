// The fine-tuning of a run that is over, as `cai explain` looks at it.
#pragma once

#include <filesystem>

#include "cai/stages/explain_training.hpp"

namespace cai {

/// What the first iteration's sft learned from. Throws InputError when it is not done.
FineTuning fine_tuning_of(const std::filesystem::path& run);

}  // namespace cai
