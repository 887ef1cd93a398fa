#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>

#include "cai/base/hash.hpp"
#include "cai/base/random.hpp"
#include "cai/base/statistics.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

TEST(Hash, IsSha256) {  // FIPS 180-2's examples
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Hash, OfALargeFileFollowsWhatIsWrittenToIt) {
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("cai-hash-" + std::to_string(getpid()));
  std::string bytes(17 << 20, 'a');
  const auto write = [&] { std::ofstream(file, std::ios::binary) << bytes; };
  write();
  EXPECT_EQ(sha256_file(file), sha256(bytes));
  EXPECT_EQ(sha256_file(file), sha256(bytes));
  bytes[1 << 20] = 'b';
  write();
  std::filesystem::last_write_time(file,
                                   std::filesystem::last_write_time(file) +
                                       std::chrono::milliseconds(20));  // file systems count time in steps
  EXPECT_EQ(sha256_file(file), sha256(bytes));
  std::filesystem::remove(file);
}

RC_GTEST_PROP(Random, StreamsDependOnTheirPathOnly,
              (std::uint64_t seed, std::string name, std::uint64_t index)) {
  Random parent(seed);
  Random before = parent.derive(name).derive(index);
  for (int i = 0; i < 5; ++i)
    parent.next();
  Random after = parent.derive(name).derive(index);
  for (int i = 0; i < 8; ++i)
    RC_ASSERT(before.next() == after.next());
  Random one = Random(seed).derive(index), other = Random(seed).derive(index + 1);
  RC_ASSERT(one.next() != other.next());
}

RC_GTEST_PROP(Random, RestoringGoesOnWhereItWas, (std::uint64_t seed, std::uint8_t drawn)) {
  Random a(seed);
  for (int i = 0; i < drawn; ++i)
    a.uniform();
  Random b;
  b.restore(a.key(), a.counter());
  for (int i = 0; i < 4; ++i)
    RC_ASSERT(a.next() == b.next());
}

TEST(Random, HasTheMomentsOfItsDistributions) {
  Random r(5);
  double sum = 0, squares = 0, uniform = 0;
  std::vector<int> counts(7);
  constexpr int n = 70000;
  for (int i = 0; i < n; ++i) {
    const double x = r.normal();
    sum += x, squares += x * x, uniform += r.uniform(), ++counts[r.below(7)];
  }
  EXPECT_NEAR(sum / n, 0, 0.02);
  EXPECT_NEAR(squares / n, 1, 0.03);
  EXPECT_NEAR(uniform / n, 0.5, 0.01);
  for (int c : counts)
    EXPECT_NEAR(c, n / 7, 400);
}

RC_GTEST_PROP(Random, APermutationHoldsEachNumberOnce, (std::uint64_t seed)) {
  const std::size_t n = *rc::gen::inRange<std::size_t>(0, 200);
  std::vector<std::size_t> p = Random(seed).permutation(n);
  std::sort(p.begin(), p.end());
  for (std::size_t i = 0; i < n; ++i)
    RC_ASSERT(p[i] == i);
}

TEST(Statistics, AgreeWithPublishedValues) {
  const Interval w = wilson(10, 20);  // Newcombe 1998, method 3: 0.2993 to 0.7007
  EXPECT_NEAR(w.low, 0.2993, 1e-4);
  EXPECT_NEAR(w.high, 0.7007, 1e-4);
  EXPECT_NEAR(wilson(0, 10).high, 0.2775, 1e-4);
  EXPECT_NEAR(pearson(std::vector<double>{1, 2, 3, 4}, std::vector<double>{2, 4, 6, 9}), 0.9943, 1e-4);
  EXPECT_NEAR(calibration_error(std::vector<double>{0.95, 0.95, 0.05}, std::vector<double>{1, 0, 0}),
              (2 * 0.45 + 0.05) / 3, 1e-12);
}

// A judge that is right in four of five cases and takes the first side too often: corrected by few known
// outcomes, the interval covers the truth as often as it says, and it is narrower than what the known
// outcomes alone give.
TEST(Statistics, APredictionPoweredMeanCoversTheTruthAndIsNarrower) {
  Random random(7);
  const double truth = 0.4;
  int covered = 0, covered_naive = 0, n = 400;
  double width = 0, width_known = 0;
  for (int trial = 0; trial < n; ++trial) {
    std::vector<double> outcome, predicted_known, predicted;
    for (int i = 0; i < 600; ++i) {
      const double y = random.uniform() < truth, f = random.uniform() < 0.8 ? y : 1;
      if (i < 100)
        outcome.push_back(y), predicted_known.push_back(f);
      else
        predicted.push_back(f);
    }
    const Interval i = prediction_powered_mean(outcome, predicted_known, predicted);
    covered += i.low <= truth && truth <= i.high;
    width += i.high - i.low;
    const std::vector<double> none;
    const Interval known = prediction_powered_mean(outcome, predicted_known, none);
    width_known += known.high - known.low;
    covered_naive += std::abs(std::accumulate(predicted.begin(), predicted.end(), 0.0) / 500 - truth) < 0.045;
  }
  EXPECT_GT(covered, 0.92 * n);
  EXPECT_LT(covered, 0.98 * n);
  EXPECT_LT(width, 0.85 * width_known);
  EXPECT_LT(covered_naive, n / 20) << "the judge alone is wrong";
}

TEST(Statistics, APredictionPoweredMeanOfAUselessJudgeIsThatOfTheKnownOutcomes) {
  const std::vector<double> outcome = {1, 0, 1, 1, 0, 1}, constant(6, 1.0), many(50, 1.0);
  const Interval i = prediction_powered_mean(outcome, constant, many);
  EXPECT_NEAR(i.value, 4.0 / 6, 1e-12);
  EXPECT_NEAR(i.high - i.value, 1.959963984540054 * std::sqrt((4.0 / 3 / 5) / 6), 1e-9);
  EXPECT_TRUE(std::isinf(prediction_powered_mean(std::vector<double>{1}, std::vector<double>{1}, many).high));
}

TEST(Text, InvalidBytesAreReplacedAsPythonDoes) {
  EXPECT_EQ(to_utf8("a\xff\xfe"), "a\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(to_utf8("\xe4\xbd!"), "\xef\xbf\xbd!");                            // one for a maximal subpart
  EXPECT_EQ(to_utf8("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate
  EXPECT_FALSE(is_utf8("\xc0\xaf"));                                           // overlong
  EXPECT_TRUE(is_utf8("na\xc3\xafve"));
}

RC_GTEST_PROP(Text, PrintableTextHoldsNoEscapes, (std::string bytes)) {
  const std::string shown = printable(bytes);
  RC_ASSERT(is_utf8(shown));
  for (char c : shown)
    RC_ASSERT(static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t');
  RC_ASSERT(shown.find("\xe2\x80\xae") == shown.npos);
  RC_ASSERT(shown.find('\x7f') == shown.npos);
}

RC_GTEST_PROP(Text, Utf8IsAFixedPoint, (std::string bytes)) {
  const std::string once = to_utf8(bytes);
  RC_ASSERT(is_utf8(once));
  RC_ASSERT(to_utf8(once) == once);
  if (is_utf8(bytes)) RC_ASSERT(once == bytes);
}

TEST(Text, NearestNamesWhatWasMeantOnly) {
  EXPECT_EQ(nearest("upadtes", {"updates", "epochs"}), "updates");
  EXPECT_EQ(nearest("zebra", {"updates", "epochs"}), "");
}

}  // namespace
}  // namespace cai
