// Attention of packed sequences against ATen's, row by row: results and gradients.
#include "cai/model/attention.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <omp.h>

namespace cai {
namespace {

struct Case {
  std::int64_t heads, kv_heads, width, window;
  bool rounds = false;
};

// Three sequences: rows 0 to 89 alone; 90 to 149, which two others begin with; their own ends.
std::shared_ptr<const AttentionLayout> layout() {
  return std::make_shared<AttentionLayout>(AttentionLayout{{{0, {{0, 90}}},
                                                            {0, {{90, 60}}},
                                                            {60, {{90, 60}, {150, 7}}},
                                                            {60, {{90, 60}, {157, 50}}},
                                                            {110, {{90, 60}, {157, 50}, {207, 3}}}}});
}

constexpr std::int64_t kRows = 210;

at::Tensor plainly(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const AttentionLayout& layout, std::int64_t window) {
  const std::int64_t group = q.size(1) / k.size(1);
  std::vector<at::Tensor> parts;
  for (const auto& segment : layout.segments) {
    std::vector<at::Tensor> of_keys, of_values;
    for (const auto& [begin, length] : segment.pieces)
      of_keys.push_back(k.narrow(0, begin, length)), of_values.push_back(v.narrow(0, begin, length));
    const auto across = [&](const at::Tensor& t) { return t.repeat_interleave(group, 1).transpose(0, 1); };
    const auto [begin, length] = segment.pieces.back();
    const at::Tensor keys = across(at::cat(of_keys)), values = across(at::cat(of_values)),
                     mine = q.narrow(0, begin, length).transpose(0, 1);
    const at::Tensor row = at::arange(segment.start, segment.start + length).unsqueeze(1),
                     column = at::arange(keys.size(1)).unsqueeze(0);
    at::Tensor seen = column.le(row);
    if (window > 0) seen = seen.logical_and(column.gt(row - window));
    const at::Tensor scores =
        at::matmul(mine, keys.transpose(1, 2)) / std::sqrt(static_cast<double>(q.size(2)));
    parts.push_back(at::matmul(scores.masked_fill(seen.logical_not(), -INFINITY).softmax(-1), values)
                        .transpose(0, 1)
                        .reshape({length, -1}));
  }
  return at::cat(parts);
}

class PackedAttention : public testing::TestWithParam<Case> {};

INSTANTIATE_TEST_SUITE_P(Shapes, PackedAttention,
                         testing::Values(Case{9, 3, 64, 0}, Case{4, 4, 80, 0}, Case{4, 2, 8, 0},
                                         Case{6, 1, 18, 0}, Case{9, 3, 64, 20}, Case{2, 1, 128, 1},
                                         Case{9, 3, 64, 0, true}, Case{4, 4, 80, 0, true},
                                         Case{4, 2, 32, 0, true}, Case{6, 3, 64, 20, true},
                                         Case{2, 1, 128, 1, true}));

TEST_P(PackedAttention, AgreesWithATenOnAnyNumberOfThreads) {
  const auto [heads, kv_heads, width, window, rounds] = GetParam();
  at::manual_seed(1);
  const auto some = [](std::int64_t h, std::int64_t w) {
    return at::randn({kRows, h, w}).mul_(1.5).requires_grad_(true);
  };
  const at::Tensor q = some(heads, width), k = some(kv_heads, width), v = some(kv_heads, width),
                   towards = at::randn({kRows, heads * width});
  const auto plain = [&, window = window] {
    const at::Tensor out = plainly(q, k, v, *layout(), window);
    (out * towards).sum().backward();
    return std::vector<at::Tensor>{out.detach(), q.grad(), k.grad(), v.grad()};
  };
  const auto ours = [&, window = window, rounds = rounds] {
    const at::NoGradGuard no_gradients;
    const Attended attended = attend(q, k, v, *layout(), window, rounds);
    const AttentionSlopes d = attend_backward(q, k, v, attended, towards, *layout(), window, rounds);
    return std::vector<at::Tensor>{attended.out, d.q, d.k, d.v};
  };
  const std::vector<at::Tensor> expected = plain(), found = ours();
  const bool in_tiles = rounds && tiles_attend({heads, kv_heads, width, window});
  for (std::size_t i = 0; i < found.size(); ++i) {
    const at::Tensor away = (found[i] - expected[i]).abs();
    EXPECT_LT(away.max().item<double>(), in_tiles ? 0.2 : 2e-5) << i;
    const at::Tensor size = at::max(
        expected[i].norm(), towards.norm());  // a row that sees itself alone has no slopes towards q and k
    EXPECT_LT((away.norm() / size).item<double>(), in_tiles ? 8e-3 : 2e-5)
        << i;  // bfloat16 rounds by up to 1 / 256
    if (in_tiles) {
      EXPECT_GT(away.max().item<double>(), window == 1 ? -1.0 : 2e-5) << i;
    }  // it is another arithmetic
  }
  const int threads = omp_get_max_threads();
  omp_set_num_threads(threads == 1 ? 3 : 1);
  const std::vector<at::Tensor> again = ours();
  omp_set_num_threads(threads);
  for (std::size_t i = 0; i < found.size(); ++i)
    EXPECT_TRUE(found[i].equal(again[i])) << i;
}

TEST(Autograd, SeesPackedAttention) {
  at::manual_seed(2);
  const auto some = [](std::int64_t h) { return at::randn({kRows, h, 8}).requires_grad_(true); };
  const at::Tensor q = some(4), k = some(2), v = some(2), towards = at::randn({kRows, 32});
  (packed_attention(q, k, v, layout(), 0) * towards).sum().backward();
  const AttentionSlopes d = attend_backward(q.detach(), k.detach(), v.detach(),
                                            attend(q.detach(), k.detach(), v.detach(), *layout(), 0, false),
                                            towards, *layout(), 0, false);
  EXPECT_TRUE(q.grad().equal(d.q) && k.grad().equal(d.k) && v.grad().equal(d.v));
}

}  // namespace
}  // namespace cai
