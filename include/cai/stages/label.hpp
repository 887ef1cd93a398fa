// label: AI feedback, which of two answers follows the constitution better, by principle (Bai et al. 2022,
// section 4.1; Lee et al. 2023).
#pragma once

#include "cai/base/progress.hpp"
#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/decisions.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/records.hpp"

namespace cai {

/// Pairs from candidate records or from {id, prompt, chosen, rejected}; writes {id, prompt, tags, a, b, p
/// (P(a better)), log_odds: {principle: x}, orders_agree, mass (P(A) + P(B), mean), unusable (verdicts that
/// do not count), samples (replies behind a verdict, where there are no probabilities), tie, method: "choice"
/// | "contrast", reasoning (chain of thought of each principle and order), reason (words that cite a
/// principle), human (p of a human choice, when given), first ("a" or "b": where the input's first answer
/// stands)}. A decision of `people` on the same pair of answers is its human. `contrast`: of each two sides
/// and of plain answers that differ, the one that does what the request asks for (decline a harmful one,
/// answer a harmless one) is better; where both do or both do not, the side that was asked for under the
/// principle, weighted by the log-probability contrast of the two instructions. Figures: ties, order
/// consistency, first-slot share, agreement with human choices (Wilson; Cohen's kappa, overall and by
/// principle; calibration), how often the input's first answer wins by the judge and, where people decided
/// some, corrected by them (prediction-powered), decisions by principle.
Json label(const LabelConfig& config, const Constitution& constitution, bool contrast,
           const std::vector<Json>& pairs, const People& people, RecordWriter& out, Speaker& judge,
           Random random, const ProgressFn& progress);

}  // namespace cai
