// exam: what a judge is worth, asked pairs of answers whose better one is known.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/data/constitution.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/records.hpp"

namespace cai {

struct ExamItem {
  std::string id,
      part;  // part: "constitution" (its tests and exemplars) or "people" (pairs that people decided)
  std::string prompt, a, b;
  bool is_a_better = false;  // a side of its own drawn by seed, so that no side is favoured
  const Principle* principle = nullptr;
};

/// The constitution's tests (must: refuse under its principle, must: help under none, for a principle against
/// harm says nothing for help) and exemplars (under the principle that they name, or none; those that
/// config.examples shows apart), then people's pairs: what `label` takes, at most 200 drawn by seed; pairs
/// that nobody decided are passed over. Throws InputError for a record that holds no pair.
std::vector<ExamItem> exam_items(const LabelConfig& config, const Constitution& constitution,
                                 const std::vector<Json>& people, Random random);

/// The prompts that an exam may ask about: what is trained on must keep clear of them.
std::vector<std::string> exam_prompts(const Constitution& constitution, const std::vector<Json>& people);

struct Examinee {
  std::string name;  // "before", "after" (fine-tuning), "judge"
  std::function<Speaker&()>
      judge;  // called when it is this one's turn: two models need not be loaded at once
};

/// Asks each examinee every item in both orders and writes a record for each: {id, judge, part, prompt, a, b,
/// better, principle, log_odds (of a), first_slot (choices for the first answer), right, problem}. Figures:
/// by judge and part accuracy and share of the first answer (Wilson), mean P(A) + P(B), calibration error of
/// sigmoid(log_odds) (ten bins), passed; `passed`, `method` ("choice" or "contrast": of label.method auto
/// where the model judges itself and did not pass) and `sentence` of the last examinee, the one that is to
/// label. A part is passed when the lower bound of its accuracy is config.exam_margin above chance; the exam,
/// when every part with items is.
Json exam(const LabelConfig& config, const Constitution& constitution, const std::vector<Json>& people,
          const std::vector<Examinee>& examinees, RecordWriter& out, Random random);

}  // namespace cai
