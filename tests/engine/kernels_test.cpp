#include "cai/engine/kernels.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cai/base/random.hpp"

namespace cai {
namespace {

std::vector<float> normals(std::size_t n, Random random) {
  std::vector<float> v(n);
  for (float& x : v) x = static_cast<float>(random.normal());
  return v;
}

TEST(Kernels, ExponentialIsWithinTwoUnitsOfTheLastPlace) {
  std::vector<float> x, y;
  for (int i = -86000; i <= 87000; i += 7) x.push_back(static_cast<float>(i) * 1e-3f);
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
    for (float v : x) sum += std::exp(static_cast<double>(v));
    EXPECT_NEAR(log_sum_exp(x.data(), n), std::log(sum), 2e-6) << n;
  }
}

TEST(Kernels, AttentionDependsNeitherOnBlocksNorOnTheOtherQueries) {
  const std::int64_t width = 64, n = 139, heads = 7;
  const std::vector<float> q = normals(heads * width, Random(9)), k = normals(n * width, Random(10)), v = normals(n * width, Random(11));
  std::vector<float> scores(3 * n), whole(heads * width), split(heads * width);
  const auto laid = [&](std::int64_t from, std::int64_t to) {
    std::vector<float> keys(static_cast<std::size_t>(key_room(to - from, width)), NAN);  // what is not a key must not matter
    for (std::int64_t p = from; p < to; ++p) put_key(k.data() + p * width, p - from, width, keys.data());
    return keys;
  };
  const std::vector<float> all = laid(0, n);
  const AttentionBlock one{all.data(), v.data(), 0, n};
  attend(q.data(), heads, std::span(&one, 1), width, 0.125f, scores.data(), whole.data());
  for (std::int64_t h = 0; h < heads; ++h) attend(q.data() + h * width, 1, std::span(&one, 1), width, 0.125f, scores.data(), split.data() + h * width);
  EXPECT_EQ(whole, split);
  for (std::int64_t at : {1, 8, 13, 64, 138}) {
    const std::vector<float> rest = laid(at, n);
    const AttentionBlock two[] = {{all.data(), v.data(), 0, at}, {rest.data(), v.data() + at * width, 0, n - at}}, window[] = {{all.data(), v.data(), 0, at}, {all.data(), v.data(), at, n - at}};
    attend(q.data(), heads, window, width, 0.125f, scores.data(), split.data());
    EXPECT_EQ(whole, split) << at;
    attend(q.data(), heads, two, width, 0.125f, scores.data(), split.data());
    EXPECT_EQ(whole, split) << at;
  }
  for (std::int64_t h = 0; h < heads; ++h) {
    std::vector<double> weights(n);
    double sum = 0;
    for (std::int64_t p = 0; p < n; ++p) {
      double score = 0;
      for (std::int64_t i = 0; i < width; ++i) score += static_cast<double>(q[h * width + i]) * k[p * width + i];
      sum += weights[p] = std::exp(score * 0.125);
    }
    for (std::int64_t i = 0; i < width; ++i) {
      double expected = 0;
      for (std::int64_t p = 0; p < n; ++p) expected += weights[p] / sum * v[p * width + i];
      EXPECT_NEAR(whole[h * width + i], expected, 2e-6);
    }
  }
}

}  // namespace
}  // namespace cai
