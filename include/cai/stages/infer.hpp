// infer: principles that would explain given preferences (inverse constitutional AI, Findeis et al. 2025).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cai/base/progress.hpp"
#include "cai/base/statistics.hpp"
#include "cai/config/config.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/json.hpp"

namespace cai {

struct InferSettings {
  long most_pairs = 120;  // pairs used, drawn by seed
  long principles = 6;    // proposed at most: the number of clusters
};

struct InferredPrinciple {
  std::string text;
  long proposals = 0;       // candidates in its cluster
  Interval reconstruction;  // share of the selection pairs on which the model, judging by this principle
                            // alone, prefers what was chosen
  double orders_agree =
      0;  // share of them on which both orders give the same verdict: low means that the judge sees the slot
  bool is_kept = false;  // the interval's lower end is above one half
};

struct Inferred {
  std::vector<InferredPrinciple> principles;         // best first
  long proposing = 0, selecting = 0, reporting = 0;  // pairs by use; no prompt is in two of them
  long candidates = 0, unusable = 0;                 // proposals, and those that were no sentence
  Interval together;  // share of the report pairs, seen by nobody before, that the kept principles
                      // reconstruct; n 0 when none is kept
  Interval longer;  // share of the report pairs on which the longer answer was chosen: what a rule without a
                    // model reaches
};

/// `pairs`: records that pairs_of reads with a known preference (chosen and rejected, or human); ties are
/// left out. The model proposes one principle a pair on two fifths of the prompts; proposals are clustered by
/// their words (TF-IDF, agglomerative, average link) and the one nearest its cluster's middle stands for it;
/// each is tested on three tenths, and the kept ones together on the rest. Throws InputError when there are
/// fewer than 20 pairs with a preference.
Inferred infer(const InferSettings& settings, const LabelConfig& label, const std::vector<Json>& pairs,
               Speaker& model, Random random, const ProgressFn& progress);

/// A constitution of the kept principles, with what was measured as comments.
std::string to_yaml(const Inferred& inferred, const std::string& name);

Json to_json(const Inferred& inferred);

}  // namespace cai
