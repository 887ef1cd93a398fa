// A guard: heads on a reading model's residual states that say of a request what kind it is, and of an
// exchange whether the answer goes against a principle, and against which. A folder with guard.json,
// guard.safetensors and the constitution.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cai/base/calibration.hpp"
#include "cai/data/constitution.hpp"
#include "cai/feedback/guard_trunk.hpp"

namespace cai {

/// One logistic head. Of requests: "red-team", "borderline", "ordinary", "decline"; of exchanges: "violates"
/// (any principle), and a principle's id.
struct GuardHead {
  std::string name;
  std::vector<float> weights;  // [GuardTrunk::width()]
  double bias = 0;
  Isotonic calibration;  // of the score, by exchanges that the head was not trained on
  Json figures = Json::object();

  /// The highest score on any window.
  double score(std::span<const float> windows) const;
  /// P of a score: calibrated, never nearer to 0 or 1 than the number of examples shows.
  double probability(double score) const;
};

/// Everything in a guard's folder.
struct GuardParts {
  std::vector<GuardHead> requests, exchanges;
  double threshold = 0;  // score of "violates" above which an exchange violates
  double doubtful = 0;   // score above which a judge, where there is one, decides; at most `threshold`
  std::string trunk;     // as it was named
  Json facts;            // trunk (GuardTrunk::identity), constitution, records, figures, settings
  Constitution constitution;
};

/// Writes the folder, which must be new or empty: the same bytes for the same parts.
void write_guard(const std::filesystem::path& folder, const GuardParts& parts);

/// Reads it. Throws InputError for a file that is missing, damaged or of another form.
GuardParts read_guard(const std::filesystem::path& folder);

/// What one head says of a text.
struct HeadScore {
  double score = 0, p = 0;
};

/// What a guard says of one text, by head.
struct GuardScores {
  std::map<std::string, HeadScore> request, exchange;  // `exchange`: empty without an answer
  std::string problem;                                 // why nothing was said, or ""
};

class Guard {
 public:
  /// `trunk`: the model's path. Throws InputError unless it is the one that the guard was trained on.
  Guard(GuardParts parts, const std::filesystem::path& trunk, const std::string& dtype);

  /// One for each text. Bits depend on the text alone.
  std::vector<GuardScores> read(std::span<const GuardText> texts);

  const GuardParts& parts() const { return parts_; }

 private:
  GuardParts parts_;
  GuardTrunk trunk_;
};

}  // namespace cai
