#include "cai/engine/device_sampling.hpp"

#include <ATen/ATen.h>

#include "cai/engine/kernels.hpp"
#include "cai/model/tensors.hpp"

namespace cai {
namespace {

// Running sums of the last dimension, of at most some hundred: a product with a triangle, for ATen's cumsum
// adds in an order that changes.
at::Tensor running_sums(const at::Tensor& x) {
  return at::matmul(x, at::ones({x.size(-1), x.size(-1)}, x.options()).triu());
}

// x [n, vocabulary] in blocks [n, blocks, kSumBlock], filled up with zeros.
at::Tensor blocks_of(const at::Tensor& x) {
  const std::int64_t rest = (kSumBlock - x.size(1) % kSumBlock) % kSumBlock;
  return at::constant_pad_nd(x, {0, rest}).reshape({x.size(0), -1, kSumBlock});
}

// Zeroes probabilities outside each row's nucleus: the likeliest tokens whose sum reaches `share` [n] of all.
at::Tensor in_nucleus(const at::Tensor& probabilities, const at::Tensor& share) {
  const auto [sorted, order] = at::sort(probabilities, /*stable=*/true, /*dim=*/1, /*descending=*/true);
  const at::Tensor blocks = blocks_of(sorted.to(at::kDouble)), within = running_sums(blocks),
                   sums = blocks.sum(-1), before = running_sums(sums) - sums;
  const at::Tensor reached = (within + before.unsqueeze(-1)).flatten(1).narrow(1, 0, sorted.size(1)),
                   least = (share * reached.select(1, -1)).unsqueeze(1);
  const at::Tensor kept = (reached - sorted).lt(least);  // what comes before it does not reach the share yet
  return at::zeros_like(probabilities).scatter(1, order, sorted * kept);
}

// The block, then the token in it, at which the running sum passes uniform [n] times the whole.
at::Tensor drawn_tokens(const at::Tensor& probabilities, const at::Tensor& uniform) {
  const at::Tensor blocks = blocks_of(probabilities).to(at::kDouble), sums = blocks.sum(-1),
                   reached = running_sums(sums), goal = uniform.unsqueeze(1) * reached.narrow(1, -1, 1);
  const auto last_positive = [](const at::Tensor& x) {
    return (x.gt(0) * at::arange(x.size(1), x.options().dtype(at::kLong))).amax(1, true);
  };
  // Rounding may leave the last one that has any probability.
  const at::Tensor block = at::minimum(reached.le(goal).sum(1, true), last_positive(sums));  // [n, 1]
  const at::Tensor inside = blocks.gather(1, block.unsqueeze(-1).expand({-1, 1, kSumBlock})).squeeze(1),
                   rest = goal - (reached - sums).gather(1, block);
  const at::Tensor token = at::minimum(running_sums(inside).le(rest).sum(1, true), last_positive(inside));
  return (block * kSumBlock + token).squeeze(1);
}

}  // namespace

void draw_on_device(const at::Tensor& all, std::span<const Drawing> drawings, std::span<Sampled> drawn) {
  const std::int64_t n = all.size(0), count = static_cast<std::int64_t>(drawings.size());
  const at::Device device = all.device();
  // In double, one copy to the device: a uniform draw has more bits than a float.
  std::vector<double> numbers(static_cast<std::size_t>(4 * n), 0.0);
  const auto row_of = [&](std::int64_t k, std::int64_t i) -> double& {
    return numbers[static_cast<std::size_t>(k * n + i)];
  };
  bool any_nucleus = false;
  for (std::int64_t i = 0; i < n; ++i) {
    row_of(0, i) = 1, row_of(3, i) = 1;
    if (i >= count) continue;
    const Drawing& d = drawings[static_cast<std::size_t>(i)];
    const bool is_greedy = !(d.temperature > 0);
    row_of(0, i) = is_greedy ? 1 : 1.0 / d.temperature;
    row_of(1, i) = is_greedy ? 0 : d.random->uniform();
    row_of(2, i) = is_greedy;
    row_of(3, i) = is_greedy ? 1 : d.top_p;
    any_nucleus = any_nucleus || row_of(3, i) < 1;
  }
  const at::Tensor given = at::tensor(numbers, at::kDouble).view({4, n}).to(device);
  const at::Tensor scaled = (all - all.amax(1, true)) * given.select(0, 0).to(at::kFloat).unsqueeze(1);
  at::Tensor probabilities = at::exp(scaled);
  if (any_nucleus)
    probabilities = at::where(given.select(0, 3).lt(1).unsqueeze(1),
                              in_nucleus(probabilities, given.select(0, 3)), probabilities);
  const at::Tensor tokens = at::where(given.select(0, 2).gt(0), at::argmax(all, 1),
                                      drawn_tokens(probabilities, given.select(0, 1)));
  const at::Tensor logs = all.gather(1, tokens.unsqueeze(1)).squeeze(1) - at::logsumexp(all, 1);
  const at::Tensor result = at::stack({tokens.to(at::kDouble), logs.to(at::kDouble)}).cpu();
  const double* const token = result.data_ptr<double>();
  for (std::int64_t i = 0; i < count; ++i)
    drawn[static_cast<std::size_t>(i)] = {static_cast<int>(token[i]), static_cast<float>(token[n + i])};
}

}  // namespace cai
