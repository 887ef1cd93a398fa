// Lint: what a person should know about a constitution before a model is trained on it. Wording only; nothing
// is asked of a model.
#pragma once

#include <string>
#include <vector>

#include "cai/data/constitution.hpp"

namespace cai {

struct Remark {
  int line = 0;
  std::string principle;   // id; "" for the whole file
  std::string kind;        // duplicate, near-duplicate, contradiction, vague, two-duties, negative, no-tests,
                           // one-sided-tests, too-long, too-short
  bool is_problem = true;  // false: a note, a trade-off to know of
  std::string text;
};

/// In the order of the file. Problems: duplicates and near duplicates (of text and of comparison),
/// contradictions by wording, vague words, no tests, texts too short to mean something, too long to keep in
/// view, or requests that fill a small context. Notes: two duties in one principle, a prohibition, tests that
/// a model which always refuses (or never does) passes.
std::vector<Remark> lint(const Constitution& constitution);

}  // namespace cai
