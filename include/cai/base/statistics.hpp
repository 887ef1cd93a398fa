// Intervals and agreement measures. Plain doubles; no state.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cai {

/// A 95 % interval. Where the data tell nothing (no item; equal values of a quantity without bounds) it
/// reaches from -inf to +inf.
struct Interval {
  double value = 0, low = 0, high = 0;
  long n = 0;
  long prompts = 0;  // where answers share prompts: how many prompts they belong to; 0: as many as n

  bool is_known() const;  // both ends are finite
};

/// Wilson score interval of a proportion (Wilson 1927). n = 0: value 0, interval [0, 1].
Interval wilson(long successes, long n);

/// The share of yes among answers that are not independent: those of one prompt tend to be right or wrong
/// together. Wilson's interval of the effective number of answers, which is the number divided by the design
/// effect: the variance of the share with prompts as clusters, over that of independent answers (Rao and
/// Scott 1992). It is at least 1; where all answers agree it cannot be estimated, and prompts count.
class ClusteredShare {
 public:
  void add(const std::string& prompt, bool yes);
  Interval interval() const;

 private:
  struct Count {
    double yes = 0, n = 0;
  };
  std::map<std::string, Count> by_prompt_;
};

/// Difference of two paired proportions, (gained - lost) / n, with Tango's score interval (Tango 1998). It
/// has a width also where nothing changed. `gained` and `lost` count the pairs that changed to yes and to no;
/// they and n may be effective numbers. n = 0: [-1, 1].
Interval paired_difference(double gained, double lost, double n);

/// The same of pairs that share prompts, with effective numbers as in ClusteredShare.
class ClusteredDifference {
 public:
  void add(const std::string& prompt, bool now, bool before);
  Interval interval() const;

 private:
  struct Count {
    double gained = 0, lost = 0, n = 0;
  };
  std::map<std::string, Count> by_prompt_;
};

/// (1 + d) / 2: of the difference between wins and losses, how often a side wins when ties count half.
Interval as_win_rate(const Interval& difference);

/// Mean of independent estimates: their distances to their bounds are squared and added (Newcombe 1998,
/// method 10; MOVER, Zou and Donner 2008).
Interval mean_of_independent(std::span<const Interval> independent);

/// Mean with the bias-corrected and accelerated bootstrap interval (BCa, Efron 1987), resampling whole items
/// (prompts). Seeded: same input, same result. Equal values tell nothing of the spread of others: unknown.
/// Below some 20 values it is too narrow.
Interval bootstrap_mean(std::span<const double> values, long samples, std::uint64_t seed);

/// Mean of paired differences a[i] - b[i] with its bootstrap interval. Throws Bug for other sizes.
Interval bootstrap_difference(std::span<const double> a, std::span<const double> b, long samples,
                              std::uint64_t seed);

/// Pairs of one group that changed to yes and to no, of n.
struct Changes {
  long gained = 0, lost = 0, n = 0;
};

/// Exact two-sided test that nothing changed, of the mean over groups of (gained - lost) / n: each changed
/// pair might as well have changed the other way. Of one group it is McNemar's exact test. Returns the
/// p-value.
double mcnemar(std::span<const Changes> groups);

/// p-values adjusted for their number by Holm's step-down method (Holm 1979), in the same order.
std::vector<double> holm(std::span<const double> p);

double pearson(std::span<const double> x, std::span<const double> y);  // 0 when either is constant

/// Cohen's kappa of two yes/no raters (Cohen 1960). None below 30 items, or where a rater always says the
/// same: it would mean nothing.
std::optional<double> kappa(std::span<const int> a, std::span<const int> b);

/// Mean of an outcome that is known for few items and predicted for many (prediction-powered inference,
/// Angelopoulos et al. 2023; the predictions' part is weighted for the least variance, Angelopoulos, Duchi
/// and Zrnic 2023, clipped to 0..1). `outcome` and `predicted_known` belong to the same items, `predicted` to
/// others. Normal 95 % interval; with fewer than two known items nothing is known: value 0, interval [-inf,
/// inf].
Interval prediction_powered_mean(std::span<const double> outcome, std::span<const double> predicted_known,
                                 std::span<const double> predicted);

/// Expected calibration error over 10 equal bins of predicted probability against outcomes in [0, 1].
double calibration_error(std::span<const double> predicted, std::span<const double> outcome);

}  // namespace cai
