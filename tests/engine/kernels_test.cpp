#include "cai/engine/kernels.hpp"

#include <gtest/gtest.h>
#include <omp.h>

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

PackedMatrix matrix(const std::vector<float>& w, std::int64_t out, std::int64_t in, bool bfloat16 = false) {
  const float* p = w.data();
  return PackedMatrix(std::span(&p, 1), std::span(&out, 1), in, bfloat16);
}

// Values that bfloat16 holds exactly, so that its products are those of float32.
std::vector<float> coarse(std::vector<float> v) {
  for (float& x : v) {
    int exponent = 0;
    const float fraction = std::frexp(x, &exponent);
    x = std::ldexp(std::round(std::ldexp(fraction, 8)), exponent - 8);
  }
  return v;
}

TEST(PackedMatrix, AgreesWithSumsInDouble) {
  for (auto [in, out] : {std::pair<std::int64_t, std::int64_t>{64, 96}, {576, 100}, {33, 7}, {1536, 31}}) {
    for (const bool bfloat16 : {false, true}) {
      std::vector<float> w = normals(static_cast<std::size_t>(in * out), Random(1)), x = normals(static_cast<std::size_t>(29 * in), Random(2));
      if (bfloat16) w = coarse(w), x = coarse(x);
      std::vector<float> y(static_cast<std::size_t>(29 * out));
      matrix(w, out, in, bfloat16).multiply(x.data(), 29, y.data());
      for (std::int64_t r = 0; r < 29; ++r)
        for (std::int64_t j = 0; j < out; ++j) {
          double sum = 0;
          for (std::int64_t k = 0; k < in; ++k) sum += static_cast<double>(x[r * in + k]) * w[j * in + k];
          ASSERT_NEAR(y[r * out + j], sum, 1e-5 * std::sqrt(in) * 4) << in << "x" << out << " row " << r << (bfloat16 ? " bfloat16" : "");
        }
    }
  }
}

TEST(PackedMatrix, ARowHasTheSameBitsWhateverItsNeighboursAndThreads) {
  const std::int64_t in = 576, out = 200;
  const std::vector<float> x = normals(70 * in, Random(4));
  std::vector<float> alone(out), together(70 * out);
  const int threads = omp_get_max_threads();
  for (const bool bfloat16 : {false, true}) {
    const PackedMatrix m = matrix(normals(in * out, Random(3)), out, in, bfloat16);
    for (int t : {1, 2, 3}) {
      omp_set_num_threads(t);
      for (std::int64_t rows : {1, 2, 5, 6, 7, 13, 64, 70}) {
        m.multiply(x.data(), rows, together.data());
        for (std::int64_t r = 0; r < rows; ++r) {
          m.multiply(x.data() + r * in, 1, alone.data());
          ASSERT_EQ(std::memcmp(alone.data(), together.data() + r * out, out * sizeof(float)), 0) << rows << " rows, row " << r;
        }
      }
    }
  }
  omp_set_num_threads(threads);
}

TEST(PackedMatrix, StacksItsParts) {
  const std::vector<float> a = normals(3 * 8, Random(5)), b = normals(2 * 8, Random(6)), x = normals(8, Random(7));
  const float* parts[] = {a.data(), b.data()};
  const std::int64_t outs[] = {3, 2};
  std::vector<float> y(5), ya(3), yb(2);
  PackedMatrix(parts, outs, 8).multiply(x.data(), 1, y.data());
  matrix(a, 3, 8).multiply(x.data(), 1, ya.data());
  matrix(b, 2, 8).multiply(x.data(), 1, yb.data());
  EXPECT_EQ(std::vector<float>(y.begin(), y.begin() + 3), ya);
  EXPECT_EQ(std::vector<float>(y.begin() + 3, y.end()), yb);
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
