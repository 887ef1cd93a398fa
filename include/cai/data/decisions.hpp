// People's decisions on pairs of answers, and the answers that they wrote themselves:
// RUN/review/decisions.jsonl, one line a decision, only ever appended to.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "cai/io/file.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// The decisions of a run folder (RUN/review/decisions.jsonl), or of a file of the same lines:
/// {id, prompt, tags, a, b, verdict: "a" | "b" | "equal" | "skip", human (P(a better): 1, 0, 0.5; absent when
/// skipped), ai}, or with an answer of the person's own, better than both (a and b may be absent): {id,
/// prompt, tags, a, b, verdict: "edit", edited, ai}. In the order of writing; a later line on the same id
/// replaces the earlier one. A last line that was torn was never acknowledged and is left out; a whole one
/// without a line break counts. Throws InputError on anything else, and when `path` does not exist.
std::vector<Json> read_decisions(const std::filesystem::path& path);

/// Where a run's decisions are.
std::filesystem::path decisions_file(const std::filesystem::path& run);

/// Decisions that are durable when `add` returns. One process a folder.
class DecisionFile {
 public:
  /// Creates the folder and the file where they are missing; cuts off a torn line, which was never
  /// acknowledged.
  explicit DecisionFile(const std::filesystem::path& file);
  void add(const Json& decision);  ///< fsync before it returns; throws EnvironmentError

 private:
  std::unique_ptr<FolderLock> lock_;
  std::unique_ptr<AppendFile> file_;
};

/// People's word on pairs, whatever order the answers stand in, and their own answers.
class People {
 public:
  People() = default;
  explicit People(const std::vector<Json>& decisions);

  /// P(a better) by the last decision on this prompt and these answers; nothing when there is none.
  std::optional<double> on(const std::string& prompt, const std::string& a, const std::string& b) const;
  /// Decisions with an answer of a person's own (`edited`), in the order of writing.
  const std::vector<Json>& edits() const { return edits_; }

 private:
  std::vector<Json> edits_;
  std::map<std::tuple<std::string, std::string, std::string>, double>
      human_;  // prompt, the smaller answer, the larger: P(smaller better)
};

}  // namespace cai
