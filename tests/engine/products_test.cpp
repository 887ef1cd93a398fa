#include "cai/engine/products.hpp"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cai/base/amx.hpp"
#include "cai/base/error.hpp"
#include "cai/base/random.hpp"

namespace cai {
namespace {

const std::vector<Precision> kAll =
    has_int8_products() ? std::vector{Precision::kFloat32, Precision::kBfloat16, Precision::kInt8}
                        : std::vector{Precision::kFloat32, Precision::kBfloat16};

std::vector<float> normals(std::int64_t n, Random random) {
  std::vector<float> v(static_cast<std::size_t>(n));
  for (float& x : v)
    x = static_cast<float>(random.normal());
  return v;
}

PackedMatrix matrix(const std::vector<float>& w, std::int64_t out, std::int64_t in,
                    Precision precision = Precision::kFloat32) {
  const float* p = w.data();
  return PackedMatrix(std::span(&p, 1), std::span(&out, 1), in, precision);
}

// Values that the precision holds exactly, so that its products are those of float32.
std::vector<float> coarse(std::vector<float> v, std::int64_t width, Precision precision) {
  for (std::size_t i = 0; i < v.size(); ++i) {
    float& x = v[i];
    int exponent = 0;
    const float fraction = std::frexp(x, &exponent);
    const std::size_t k = i % static_cast<std::size_t>(width);
    if (precision == Precision::kBfloat16) x = std::ldexp(std::round(std::ldexp(fraction, 8)), exponent - 8);
    if (precision == Precision::kInt8)
      x = k % kInt8Block < 2
              ? 127.0f / 32
              : std::round(std::clamp(x, -3.9f, 3.9f) * 32) / 32;  // two of the largest: none is split
  }
  return v;
}

TEST(PackedMatrix, AgreesWithSumsInDouble) {
  for (auto [in, out] :
       {std::pair<std::int64_t, std::int64_t>{64, 96}, {576, 100}, {33, 7}, {1536, 31}, {3, 1}}) {
    for (const Precision precision : kAll) {
      const std::vector<float> w = coarse(normals(in * out, Random(1)), in, precision),
                               x = coarse(normals(29 * in, Random(2)), in, precision);
      std::vector<float> y(static_cast<std::size_t>(29 * out));
      matrix(w, out, in, precision).multiply(x.data(), 29, y.data());
      for (std::int64_t r = 0; r < 29; ++r)
        for (std::int64_t j = 0; j < out; ++j) {
          double sum = 0;
          for (std::int64_t k = 0; k < in; ++k)
            sum += static_cast<double>(x[r * in + k]) * w[j * in + k];
          ASSERT_NEAR(y[r * out + j], sum, 1e-5 * std::sqrt(in) * 4)
              << in << "x" << out << " row " << r << ' ' << kernel_name(precision);
        }
    }
  }
}

// A weight's step is its block's range / 255, an input's its block's largest magnitude / 127; rounding errs
// by a uniform share of the step.
TEST(PackedMatrix, EightBitsCostWhatTheirStepsSay) {
  if (!has_int8_products()) GTEST_SKIP() << "this CPU lacks the instructions";
  const std::int64_t in = 576, out = 64, rows = 16;
  const std::vector<float> w = normals(in * out, Random(12));
  std::vector<float> x = normals(rows * in, Random(13)), exact(rows * out), rounded(rows * out);
  const double step = 2.07 / 127,
               squared =
                   step * step /
                   12;  // the largest of 32 normal magnitudes has the mean 2.07; so has half of the range
  for (const float outlier :
       {0.0f, 60.0f}) {  // one large input in eight blocks costs what the weights' rounding does, and no more
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t b = 0; outlier > 0 && b < 8; ++b)
        x[r * in + 32 * b + (r + 5 * b) % 32] = outlier * static_cast<float>(1 + b) / 8;
    matrix(w, out, in).multiply(x.data(), rows, exact.data());
    matrix(w, out, in, Precision::kInt8).multiply(x.data(), rows, rounded.data());
    double squares = 0, inputs = 0;
    for (std::size_t i = 0; i < exact.size(); ++i)
      squares += std::pow(static_cast<double>(rounded[i]) - exact[i], 2);
    for (float v : x)
      inputs += static_cast<double>(v) * v / rows;
    const double expected = std::sqrt(squared * in + squared * inputs);
    EXPECT_NEAR(std::sqrt(squares / static_cast<double>(exact.size())) / expected, 1.0, 0.15) << outlier;
  }
}

TEST(PackedMatrix, AutoKeepsQuantisedWeightsAndRoundsTheOthersToBFloat16) {
  if (!has_int8_products() || !has_bfloat16_products()) GTEST_SKIP() << "this CPU lacks the instructions";
  const std::int64_t in = 96, out = 40;
  const std::vector<float> free = normals(in * out, Random(18)), x = normals(3 * in, Random(19));
  const auto same = [&](const PackedMatrix& a, const PackedMatrix& b) {
    std::vector<float> ya(3 * out), yb(3 * out);
    a.multiply(x.data(), 3, ya.data()), b.multiply(x.data(), 3, yb.data());
    return ya == yb;
  };
  EXPECT_FALSE(matrix(free, out, in, Precision::kAuto).is_int8());
  EXPECT_TRUE(same(matrix(free, out, in, Precision::kAuto), matrix(free, out, in, Precision::kBfloat16)));
  // Blocks as GGUF has them: steps and bases of 16 bits, 4 or 8 bits a weight.
  for (const auto& [lowest, levels, base] : {std::tuple{0, 16, true}, {-8, 16, false}, {-127, 255, false}}) {
    std::vector<float> w(free.size());
    Random random(20);
    for (std::size_t i = 0; i < w.size(); i += 32) {
      const float step = std::ldexp(
                      std::round(std::ldexp(static_cast<float>(std::fabs(random.normal())) + 0.1f, 10)), -16),
                  from = base ? -7.3f * step : 0.0f;
      for (std::size_t k = 0; k < 32; ++k)
        w[i + k] =
            from +
            step * static_cast<float>(
                       lowest +
                       (k == 5 ? 0 : static_cast<int>(random.below(static_cast<std::uint64_t>(levels)))));
    }
    EXPECT_EQ(matrix(w, out, in, Precision::kAuto).is_int8(), prefers_int8()) << levels;
    EXPECT_TRUE(same(matrix(w, out, in, Precision::kAuto),
                     matrix(w, out, in, prefers_int8() ? Precision::kInt8 : Precision::kBfloat16)))
        << levels;
    const PackedMatrix m = matrix(w, out, in, Precision::kInt8);
    std::vector<float> ones(in, 0.0f), y(out);  // one input at a time reads the weights back
    for (std::int64_t k = 0; k < in; ++k) {
      ones.assign(in, 0.0f), ones[static_cast<std::size_t>(k)] = 127.0f;
      m.multiply(ones.data(), 1, y.data());
      for (std::int64_t j = 0; j < out; ++j)
        ASSERT_NEAR(y[j] / 127, w[j * in + k], 2e-6 * std::fabs(w[j * in + k]) + 1e-6) << levels;
    }
    for (std::size_t k = 64; k < 76; ++k)
      w[k] *= 1 + 0.05f * static_cast<float>(random.normal());
    EXPECT_FALSE(matrix(w, out, in, Precision::kAuto).is_int8()) << "twelve weights off their grid";
  }
}

TEST(PackedMatrix, GatesWhatComesUp) {
  for (auto [in, width] : {std::pair<std::int64_t, std::int64_t>{64, 48}, {33, 7}, {96, 41}}) {
    const std::vector<float> gate = normals(width * in, Random(30)), up = normals(width * in, Random(31)),
                             x = normals(37 * in, Random(32));
    for (const Precision precision : kAll) {
      const PackedMatrix gated = PackedMatrix::gated(gate.data(), up.data(), width, in, precision);
      ASSERT_EQ(gated.out(), width);
      std::vector<float> gates(37 * width), ups(37 * width), alone(width), together(37 * width);
      matrix(gate, width, in, precision).multiply(x.data(), 37, gates.data());
      matrix(up, width, in, precision).multiply(x.data(), 37, ups.data());
      gated.multiply(x.data(), 37, together.data());
      for (std::int64_t r = 0; r < 37; ++r) {
        gated.multiply(x.data() + r * in, 1, alone.data());
        for (std::int64_t i = 0; i < width; ++i) {
          const double g = gates[r * width + i], expected = g / (1 + std::exp(-g)) * ups[r * width + i];
          ASSERT_NEAR(
              together[r * width + i], expected,
              (precision == Precision::kBfloat16 && has_amx() ? 5e-6 : 1e-6) * (1 + std::fabs(expected)))
              << kernel_name(precision) << ' ' << width << " row " << r;
          ASSERT_EQ(together[r * width + i], alone[i]);
        }
      }
    }
  }
}

TEST(PackedMatrix, EightBitsHideNothingThatIsNotANumber) {
  if (!has_int8_products()) GTEST_SKIP() << "this CPU lacks the instructions";
  const std::int64_t in = 96, out = 5;
  const PackedMatrix m = matrix(normals(in * out, Random(14)), out, in, Precision::kInt8);
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> x = normals(2 * in, Random(15)), y(2 * out);
    x[40] = bad;
    m.multiply(x.data(), 2, y.data());
    for (std::int64_t j = 0; j < out; ++j)
      EXPECT_FALSE(std::isfinite(y[j])) << bad;
    for (std::int64_t j = out; j < 2 * out; ++j)
      EXPECT_TRUE(std::isfinite(y[j])) << bad;
  }
  std::vector<float> x(in, 1e-38f), y(out, 1.0f);  // too small for a step of its own: nothing
  m.multiply(x.data(), 1, y.data());
  EXPECT_EQ(y, std::vector<float>(out, 0.0f));
}

TEST(PackedMatrix, ARowHasTheSameBitsWhateverItsNeighboursAndThreads) {
  const std::int64_t in = 576, out = 200;
  const std::vector<float> x = normals(70 * in, Random(4));
  std::vector<float> alone(out), together(70 * out);
  const int threads = omp_get_max_threads();
  for (const Precision precision : kAll) {
    const PackedMatrix m = matrix(normals(in * out, Random(3)), out, in, precision);
    for (int t : {1, 2, 3}) {
      omp_set_num_threads(t);
      for (std::int64_t rows : {1, 2, 5, 6, 7, 13, 16, 17, 33, 64, 70}) {
        m.multiply(x.data(), rows, together.data());
        for (std::int64_t r = 0; r < rows; ++r) {
          m.multiply(x.data() + r * in, 1, alone.data());
          ASSERT_EQ(std::memcmp(alone.data(), together.data() + r * out, out * sizeof(float)), 0)
              << rows << " rows, row " << r;
        }
      }
    }
  }
  omp_set_num_threads(threads);
}

TEST(PackedMatrix, WeightsArePackedTheSameOnAnyNumberOfThreads) {
  const std::int64_t in = 64, out = 4 * kPanel;
  std::vector<float> w = normals(in * out, Random(21));  // the second half of it on a grid, the first on none
  for (std::size_t i = w.size() / 2; i < w.size(); ++i)
    w[i] = i % 32 == 0 ? -7.0f : i % 32 == 1 ? 7.0f : std::round(std::clamp(w[i], -3.0f, 3.0f) * 2);
  const std::vector<float> x = normals(in, Random(22));
  const int threads = omp_get_max_threads();
  for (const Precision precision : kAll) {
    std::vector<float> one(out), several(out);
    omp_set_num_threads(1);
    matrix(w, out, in, precision).multiply(x.data(), 1, one.data());
    for (int t : {2, 3}) {
      omp_set_num_threads(t);
      matrix(w, out, in, precision).multiply(x.data(), 1, several.data());
      EXPECT_EQ(one, several) << kernel_name(precision) << ", " << t << " threads";
    }
  }
  omp_set_num_threads(threads);
}

TEST(PackedMatrix, APartOfTheColumnsIsThatPart) {
  const std::int64_t in = 40, out = 3 * kPanel + 9, rows = 7;
  const std::vector<float> w = normals(in * out, Random(16)), x = normals(rows * in, Random(17));
  for (const Precision precision : kAll) {
    const PackedMatrix m = matrix(w, out, in, precision);
    std::vector<float> whole(rows * out), part(rows * 41);
    m.multiply(x.data(), rows, whole.data());
    m.multiply(x.data(), rows, 2 * kPanel, 41, part.data());
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t j = 0; j < 41; ++j)
        ASSERT_EQ(part[r * 41 + j], whole[r * out + 64 + j]) << kernel_name(precision);
  }
}

// Inputs as `m` takes them.
Inputs inputs_of(const std::vector<float>& x, std::int64_t rows, const PackedMatrix& m) {
  Inputs inputs;
  inputs.start(rows, m.in(), m.takes_tiles());
  std::vector<float> scratch;
  for (std::int64_t r = rows; r-- > 0;) {  // in any order, from anywhere or from its own room
    float* const room = inputs.room(r, scratch);
    std::copy_n(x.data() + r * m.in(), m.in(), room);
    inputs.put(r, r % 2 ? room : x.data() + r * m.in());
  }
  return inputs;
}

TEST(PackedMatrix, InputsThatWerePutGiveTheSameSums) {
  for (auto [in, out, rows] :
       {std::tuple<std::int64_t, std::int64_t, std::int64_t>{64, 96, 37}, {33, 7, 3}, {100, 70, 16}}) {
    const std::vector<float> w = normals(in * out, Random(40)), x = normals(rows * in, Random(41)),
                             bias = normals(out, Random(42)), before = normals(rows * out, Random(43));
    for (const Precision precision : kAll) {
      const PackedMatrix m = matrix(w, out, in, precision);
      std::vector<float> sums(rows * out), y(sums);
      m.multiply(x.data(), rows, sums.data());
      Inputs inputs = inputs_of(x, rows, m);
      m.multiply(inputs, rows, y.data());
      EXPECT_EQ(y, sums) << kernel_name(precision);
      std::vector<float> expected = before;
      for (std::size_t i = 0; i < y.size(); ++i)
        expected[i] += sums[i] + bias[i % static_cast<std::size_t>(out)];
      y = before;
      m.multiply(inputs, rows, y.data(), bias.data(), true);
      EXPECT_EQ(y, expected) << kernel_name(precision);
      inputs.copy_row(rows - 1, 0);
      m.multiply(inputs, 1, y.data());
      EXPECT_TRUE(std::equal(y.begin(), y.begin() + out, sums.end() - out)) << kernel_name(precision);
    }
  }
}

TEST(PackedMatrix, GatedSumsBecomeTheNextInputs) {
  const std::int64_t in = 48, out = 20, rows = 37;
  for (const std::int64_t width : {64, 41, 7}) {
    const std::vector<float> gate = normals(width * in, Random(44)), up = normals(width * in, Random(45)),
                             w = normals(out * width, Random(46)), x = normals(rows * in, Random(47));
    for (const Precision precision : kAll) {
      const PackedMatrix gated = PackedMatrix::gated(gate.data(), up.data(), width, in, precision),
                         next = matrix(w, out, width, precision);
      std::vector<float> between(rows * width), expected(rows * out), found(expected);
      gated.multiply(x.data(), rows, between.data());
      next.multiply(between.data(), rows, expected.data());
      Inputs inputs;
      for (int time = 0; time < 2; ++time) {  // where something was before, too
        inputs.start(rows, width, next.takes_tiles());
        for (std::int64_t r = 0; time == 0 && r < rows; ++r)
          inputs.put(r, std::vector<float>(static_cast<std::size_t>(width), 9.0f).data());
        gated.multiply(inputs_of(x, rows, gated), rows, inputs);
        next.multiply(inputs, rows, found.data());
        // In tiles exponentials are less exact, so that some rounds the other way.
        for (std::size_t i = 0; i < found.size(); ++i)
          ASSERT_NEAR(found[i], expected[i], next.takes_tiles() ? 0.02 : 0)
              << kernel_name(precision) << ' ' << width << ' ' << i;
      }
    }
  }
}

TEST(PackedMatrix, InputsOfAnotherLayoutAreRefused) {
  const PackedMatrix m = matrix(normals(64 * 40, Random(48)), 40, 64);
  Inputs inputs;
  inputs.start(1, 60, false);
  float y[40];
  EXPECT_THROW(m.multiply(inputs, 1, y), Bug);
}

TEST(PackedMatrix, NoRowsAreNoWork) {
  for (const Precision precision : kAll) {
    float y = 7.0f;
    matrix(normals(64 * 40, Random(23)), 40, 64, precision).multiply(nullptr, 0, &y);
    EXPECT_EQ(y, 7.0f) << kernel_name(precision);
  }
}

TEST(PackedMatrix, StacksItsParts) {
  const std::vector<float> a = normals(3 * 8, Random(5)), b = normals(2 * 8, Random(6)),
                           x = normals(8, Random(7));
  const float* parts[] = {a.data(), b.data()};
  const std::int64_t outs[] = {3, 2};
  for (const Precision precision : kAll) {
    std::vector<float> y(5), ya(3), yb(2);
    PackedMatrix(parts, outs, 8, precision).multiply(x.data(), 1, y.data());
    matrix(a, 3, 8, precision).multiply(x.data(), 1, ya.data());
    matrix(b, 2, 8, precision).multiply(x.data(), 1, yb.data());
    EXPECT_EQ(std::vector<float>(y.begin(), y.begin() + 3), ya);
    EXPECT_EQ(std::vector<float>(y.begin() + 3, y.end()), yb);
  }
}

}  // namespace
}  // namespace cai
