// What a run's own records teach a guard: requests by kind, and exchanges that go against a principle or not.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cai/data/constitution.hpp"
#include "cai/io/json.hpp"

namespace cai {

struct GuardExample {
  std::string prompt, answer;  // no answer: a request
  std::string kind;            // the prompt's, or ""
  std::string group;           // topic, or the prompt: what stays together when examples are split
  std::string source;          // who says so: "tag", "revision", "own answer", "label", "people"
  int decline = -1;            // of a request: 1, 0, or -1 where nobody said
  int violates = -1;           // of an exchange, likewise
  std::string principle;       // the one that it goes against, "" where it is not known which
};

/// Examples out of a finished run (all iterations). Never of eval, its suites and failures, nor of prompts
/// that the exam asks (exam_prompts): those are for measuring. Principles with a check get none: their check
/// decides.
///   requests    every prompt of `prompts`, by its tags; `decline` as critique decided it
///   revision    the last round of revise: a first answer to a request to be declined that does not decline
///   goes
///               against the principle that its critique was written under, where a tag, the critic or a
///               single fitting principle named it (not where it was drawn); the accepted revision does not
///   own answer  answers to harmless requests, and answers that decline: they go against nothing
///   label       of a pair that a judge or the contrast found clearly different, under a principle that is
///   the
///               most specific for the request: the worse answer goes against it, the better one does not
///   people      the same by people's decisions (RUN/review), which stand before any label
/// Each (request, answer) once: people before label before revision before own answer.
std::vector<GuardExample> guard_examples(const std::filesystem::path& run, const Constitution& constitution);

/// Counts by source and by principle, for a guard's facts.
Json example_counts(const std::vector<GuardExample>& examples);

}  // namespace cai
