// Diff: what changed between two versions of a constitution, by principle, and what that asks of its version
// number.
#pragma once

#include <string>
#include <vector>

#include "cai/data/constitution.hpp"

namespace cai {

struct PrincipleChange {
  std::string id;      // in the later version; of a removed one in the earlier
  std::string was_id;  // when it was renamed, else ""
  std::string kind;    // "added", "removed", "changed"
  std::string level;   // what the change asks of the version: "major", "minor", "patch"
  std::string words;   // of a reworded text: "[-removed-] {+added+}", else the text of what was added or
                       // removed, else ""
  std::vector<std::string>
      fields;  // one line a changed field: "priority 1 -> 2", "text reworded", "2 tests added, 1 removed"
};

struct ConstitutionDiff {
  std::vector<PrincipleChange> principles;
  std::vector<std::string> rest;  // changes outside of principles: "system reworded", "examples changed"
  std::string level;              // "none", "patch", "minor", "major": the highest of all changes
  std::string from, to;           // the version fields
  std::string suggested;          // from, raised by level; "" when from is not MAJOR.MINOR.PATCH
  bool is_followed = true;        // to is at least the suggestion
};

/// Principles are the same when their ids are (ids that were given, not numbered), else when their texts are,
/// else when their texts share more than half of their words. Major: a principle is removed, or its meaning
/// (text) or rank (priority, weight, hard, applies_to) changes; minor: one is added or renamed, or the words
/// that models are asked with change (critique, revision, compare, opposite, openings, system); patch: tests,
/// examples, name.
ConstitutionDiff diff(const Constitution& before, const Constitution& after);

/// Words of two texts side by side, as "same [-removed-] {+added+}" (longest common subsequence).
std::string word_diff(const std::string& before, const std::string& after);

Json to_json(const ConstitutionDiff& diff);

}  // namespace cai
