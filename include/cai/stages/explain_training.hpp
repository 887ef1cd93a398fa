// explain: which principles' revisions moved an answer, of the model before and after fine-tuning on them.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// What such an explanation can and cannot show, for output and docs.
extern const char* const kTrainingLimits;

/// What sft learned from, and the models before and after.
struct FineTuning {
  SftConfig config;
  EngineConfig engine;
  std::vector<Json> records;      // as sft took them
  std::set<std::string> trained;  // ids of examples that were not held out
  std::filesystem::path before, after;
};

/// f = log p(answer after) - log p(answer before). Influences of all examples on f (train/influence.hpp) at
/// the mean of the weights before and after, summed by the principle of the record. Returns {prompt, before,
/// after, f_before, f_after (nats), principles: [{principle, text, examples, sum, low, high (95 %, bootstrap
/// over its examples), share (of all sums' magnitudes)}] largest first, people: the same of answers that
/// people wrote, harmless: of examples without a principle (each empty without such examples), examples: the
/// five of largest influence [{id, principle, prompt, answer, influence}], limits}.
Json explain_training(const FineTuning& run, const Constitution& constitution, const std::string& prompt,
                      const std::string& before, const std::string& after);

}  // namespace cai
