// What people bring to a run: their decisions and their preference pairs. Read once, when the run is checked:
// what is read later could be something else.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/data/decisions.hpp"
#include "cai/data/prompt.hpp"

namespace cai {

/// The decisions of hybrid.decisions, a later file's over an earlier one's. Throws InputError.
People people_of(const HybridConfig& config);

/// The records of files of people's pairs (hybrid.pairs, label.exam_pairs); records without a pair are left
/// out and told. Throws InputError.
std::vector<Json> human_pairs_of(const std::vector<std::string>& files);

/// Files of people's pairs as values.
struct HumanPairs {
  std::vector<Json> records;    // ids made unique: human-<file>/<id>
  Json hashes = Json::array();  // of each file's records, for keys
};

struct Brought {
  People people;
  Json decision_hashes = Json::array();  // of each file of hybrid.decisions
  HumanPairs pairs, exam_pairs;          // hybrid.pairs, label.exam_pairs
  Json left_out =
      Json::object();  // by setting: how many decisions or pairs on prompts like what eval or the exam asks
  std::vector<std::string> notes;  // what a person should know, one sentence each
};

/// All that `config` names. Decisions and pairs whose prompt is nearly the same (prompts.near_duplicate) as a
/// text of `evaluated`, or as one of label.exam_pairs, are left out and counted: nothing may be trained on
/// that is asked afterwards. `attempt` runs each file's reading and collects what it throws.
Brought read_brought(const Config& config, const std::vector<std::string>& evaluated,
                     const std::function<void(const std::function<void()>&)>& attempt);

/// What eval asks: the held-out prompts and the constitution's tests.
std::vector<std::string> evaluated_texts(const std::vector<Prompt>& prompts,
                                         const Constitution& constitution);
std::vector<std::string> test_prompts(const Constitution& constitution);

}  // namespace cai
