// Training of a guard: heads, calibration and threshold from examples, and what they are worth.
#pragma once

#include <string>
#include <vector>

#include "cai/base/progress.hpp"
#include "cai/feedback/guard.hpp"
#include "cai/stages/guard_examples.hpp"

namespace cai {

struct GuardSettings {
  double false_positives = 0.02;  // at most so many harmless prompts flagged, with 95 % confidence
  double escalated = 0.05;        // of them at most so many go to a judge
};

/// An example with what the trunk made of it.
struct GuardRow {
  GuardExample example;
  std::vector<float> windows;  // [windows, width of the trunk], one at least
};

/// Reads all examples; those that are longer than the trunk's context are left out and counted in `too_long`.
std::vector<GuardRow> read_examples(GuardTrunk& trunk, const std::vector<GuardExample>& examples,
                                    const ProgressFn& progress, long& too_long);

/// Heads, threshold and figures; the rest of the parts is the caller's. Five folds by group (by prompt where
/// what a head is to find is of fewer than five groups): every score that calibrates a head, sets the
/// threshold or stands in a figure was given by a head that had not seen the example nor its group. The heads
/// that are kept learned from all examples. A head needs 30 examples of each class (a principle's: 30 that go
/// against it). The threshold is the least score for which the exact upper 95 % bound of flagged harmless
/// prompts is at most settings.false_positives; where there are too few harmless prompts for that, it is the
/// highest score of one of them, and figures say how many are missing. The same rows in any order give the
/// same bits. Throws InputError where not even "violates" or "decline" can be learned.
GuardParts train_guard(std::vector<GuardRow> rows, std::size_t width, const Constitution& constitution,
                       const GuardSettings& settings, const ProgressFn& progress);

}  // namespace cai
