#include "cai/model/reward_model.hpp"

#include <ATen/ATen.h>

namespace cai {

at::Tensor raw_scores(const RewardModel& model, const Packed& packed) {
  const Llama& trunk = model.trunk;
  const at::Tensor hidden = run_layers(trunk, embed(trunk, packed.tokens), packed, 0, trunk.config.layers);
  std::vector<std::int64_t> last;
  for (std::size_t s = 1; s < packed.offsets.size(); ++s) last.push_back(packed.offsets[s] - 1);
  const at::Tensor ends = hidden.index_select(0, at::tensor(last, at::kLong));  // [sequences, width]
  return at::linear(final_norm(trunk, ends), model.score).squeeze(-1);
}

}  // namespace cai
