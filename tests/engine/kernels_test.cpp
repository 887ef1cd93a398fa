#include "cai/engine/kernels.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cai/base/random.hpp"
#include "cai/engine/attention.hpp"
#include "cai/engine/inputs.hpp"
#include "cai/engine/products.hpp"

namespace cai {
namespace {

std::vector<float> normals(std::size_t n, Random random) {
  std::vector<float> v(n);
  for (float& x : v)
    x = static_cast<float>(random.normal());
  return v;
}

TEST(Kernels, ExponentialIsWithinTwoUnitsOfTheLastPlace) {
  std::vector<float> x, y;
  for (int i = -86000; i <= 87000; i += 7)
    x.push_back(static_cast<float>(i) * 1e-3f);
  y.resize(x.size());
  exp_shifted(x.data(), static_cast<std::int64_t>(x.size()), 0, 1, y.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    ASSERT_NEAR(y[i] / exact, 1, 2.5e-7) << x[i];
  }
  const float far[] = {-1000.0f, -INFINITY};
  float zero[2];
  exp_shifted(far, 2, 0, 1, zero);
  EXPECT_EQ(zero[0], 0.0f);
  EXPECT_EQ(zero[1], 0.0f);
}

TEST(Kernels, LogSumExpAgreesWithDouble) {
  for (std::int64_t n : {1, 7, 512, 1000, 49152}) {
    const std::vector<float> x = normals(static_cast<std::size_t>(n), Random(8));
    double sum = 0;
    for (float v : x)
      sum += std::exp(static_cast<double>(v));
    EXPECT_NEAR(log_sum_exp(x.data(), n), std::log(sum), 2e-6) << n;
  }
}

class Attention : public testing::TestWithParam<Cached> {};

INSTANTIATE_TEST_SUITE_P(Kinds, Attention, testing::Values(Cached::kFloat32, Cached::kBfloat16));

TEST_P(Attention, DependsNeitherOnBlocksNorOnTheOtherQueries) {
  const Cached kind = GetParam();
  if (kind == Cached::kBfloat16 && !has_bfloat16_products()) GTEST_SKIP() << "no AVX512-BF16 here";
  for (const std::int64_t width : {64, 80, 96, 18}) {
    const std::int64_t n = 139, heads = 19;
    const std::vector<float> q = normals(heads * width, Random(9)), k = normals(n * width, Random(10)),
                             v = normals(n * width, Random(11));
    std::vector<float> scores(kQueries * n), whole(heads * width), split(heads * width);
    struct Laid {
      std::vector<std::byte> keys, values;
    };
    const auto laid = [&](std::int64_t from, std::int64_t to) {
      const std::size_t bytes = static_cast<std::size_t>(cache_bytes(kind, to - from, width));
      Laid cache{std::vector<std::byte>(bytes, std::byte{0xff}),
                 std::vector<std::byte>(bytes)};  // keys that were not put are NaN here: they must not matter
      for (std::int64_t p = from; p < to; ++p)
        put_key(kind, k.data() + p * width, p - from, width, cache.keys.data()),
            put_value(kind, v.data() + p * width, p - from, width, cache.values.data());
      return cache;
    };
    const Laid all = laid(0, n);
    const auto block = [&](const Laid& cache, std::int64_t first, std::int64_t count) {
      return AttentionBlock{cache.keys.data(), cache.values.data(), first, count};
    };
    const auto expect_near = [&](std::int64_t from, const std::vector<float>& result, double tolerance) {
      for (std::int64_t h = 0; h < heads; ++h) {
        std::vector<double> weights(n);
        double sum = 0;
        for (std::int64_t p = from; p < n; ++p) {
          double score = 0;
          for (std::int64_t i = 0; i < width; ++i)
            score += static_cast<double>(q[h * width + i]) * k[p * width + i];
          sum += weights[p] = std::exp(score * 0.125);
        }
        for (std::int64_t i = 0; i < width; ++i) {
          double expected = 0;
          for (std::int64_t p = from; p < n; ++p)
            expected += weights[p] / sum * v[p * width + i];
          ASSERT_NEAR(result[h * width + i], expected, tolerance) << width << " from " << from;
        }
      }
    };
    const double tolerance = kind == Cached::kFloat32 ? 2e-6 : 0.02;
    const AttentionBlock one = block(all, 0, n);
    attend(kind, {q.data(), 1, heads, 0}, std::span(&one, 1), width, 0.125f, scores.data(), whole.data(), 0);
    expect_near(0, whole, tolerance);
    for (std::int64_t h = 0; h < heads; ++h)
      attend(kind, {q.data() + h * width, 1, 1, 0}, std::span(&one, 1), width, 0.125f, scores.data(),
             split.data() + h * width, 0);
    EXPECT_EQ(whole, split);
    for (std::int64_t at = kSplit; at < n; at += kSplit) {
      const Laid rest = laid(at, n);
      const AttentionBlock two[] = {block(all, 0, at), block(rest, 0, n - at)},
                           window[] = {block(all, 0, at), block(all, at, n - at)};
      attend(kind, {q.data(), 1, heads, 0}, window, width, 0.125f, scores.data(), split.data(), 0);
      EXPECT_EQ(whole, split) << at;
      attend(kind, {q.data(), 1, heads, 0}, two, width, 0.125f, scores.data(), split.data(), 0);
      EXPECT_EQ(whole, split) << at;
    }
    for (const std::int64_t together :
         {2, 5, 9}) {  // neighbours at once: each sees one position less than the next
      attend(kind, {q.data(), together, heads / together, heads / together * width}, std::span(&one, 1),
             width, 0.125f, scores.data(), split.data(), heads / together * width);
      for (std::int64_t r = 0; r < together; ++r) {
        const AttentionBlock less = block(all, 0, n - (together - 1 - r));
        attend(kind, {q.data() + r * (heads / together) * width, 1, heads / together, 0}, std::span(&less, 1),
               width, 0.125f, scores.data(), whole.data(), 0);
        for (std::int64_t i = 0; i < heads / together * width; ++i)
          ASSERT_EQ(whole[i], split[r * (heads / together) * width + i]) << together << " row " << r;
      }
    }
    for (std::int64_t from : {1, 2, 77, 138}) {  // a sliding window begins anywhere
      const AttentionBlock late = block(all, from, n - from);
      attend(kind, {q.data(), 1, heads, 0}, std::span(&late, 1), width, 0.125f, scores.data(), split.data(),
             0);
      expect_near(from, split, tolerance);
    }
  }
}

TEST_P(Attention, IntoInputsIsWhatOfItsResultsWouldBePut) {
  const Cached kind = GetParam();
  if (kind == Cached::kBfloat16 && !has_bfloat16_products()) GTEST_SKIP() << "no AVX512-BF16 here";
  const std::int64_t n = 45, rows = 2, heads = 3, kv_heads = 2, all = kv_heads * heads;
  for (const std::int64_t width : {64, 18}) {
    const std::vector<float> q = normals(rows * all * width, Random(50)),
                             w = normals(24 * all * width, Random(51));
    const float* const from = w.data();
    const std::int64_t out = 24;
    const PackedMatrix next(std::span(&from, 1), std::span(&out, 1), all * width,
                            kind == Cached::kBfloat16 ? Precision::kBfloat16 : Precision::kFloat32);
    std::vector<float> scores(kQueries * n), results(rows * all * width), expected(rows * out),
        found(expected);
    Inputs inputs;
    inputs.start(rows, all * width, next.takes_tiles());
    for (std::int64_t h = 0; h < kv_heads; ++h) {
      std::vector<std::byte> keys(static_cast<std::size_t>(cache_bytes(kind, n, width))), values(keys);
      for (std::int64_t p = 0; p < n; ++p) {
        const std::vector<float> k = normals(width, Random(60 + h * n + p)),
                                 v = normals(width, Random(200 + h * n + p));
        put_key(kind, k.data(), p, width, keys.data()), put_value(kind, v.data(), p, width, values.data());
      }
      const AttentionBlock block{keys.data(), values.data(), 0, n};
      const Queries queries{q.data() + h * heads * width, rows, heads, all * width};
      attend(kind, queries, std::span(&block, 1), width, 0.125f, scores.data(),
             results.data() + h * heads * width, all * width);
      attend(kind, queries, std::span(&block, 1), width, 0.125f, scores.data(), inputs, 0, h * heads * width);
    }
    next.multiply(results.data(), rows, expected.data()), next.multiply(inputs, rows, found.data());
    EXPECT_EQ(found, expected) << width;
  }
}

}  // namespace
}  // namespace cai
