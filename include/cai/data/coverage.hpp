// How many prompts meet each principle of a constitution.
#pragma once

#include <string>
#include <vector>

#include "cai/data/constitution.hpp"
#include "cai/data/prompt.hpp"

namespace cai {

struct Coverage {
  const Principle* principle = nullptr;
  long train = 0, held_out = 0;  // prompts that it applies to, by split
  bool is_declining = false;     // all training prompts that it applies to have the kind red-team

  /// What decides whether an answer follows it, in one word: check, kind (of the request) or judge.
  std::string decided_by() const;
};

/// One a principle, in the constitution's order. Every prompt must have a split. A prompt without tags meets
/// every principle without a check, and those with a check that name no tags, as in a run.
std::vector<Coverage> coverage(const Constitution& constitution, const std::vector<Prompt>& prompts);

}  // namespace cai
