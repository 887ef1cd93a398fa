// The constitution: principles, their wordings for each stage, worked examples.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/data/answer_check.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// A small case that must hold; becomes part of eval.
struct PrincipleTest {
  std::string prompt;
  std::string must;                // "refuse", "help", "mention" or "avoid"
  std::vector<std::string> words;  // for mention and avoid
};

struct Principle {
  std::string id;
  std::string text;
  std::string critique;                        // request for a critique; derived from text when absent
  std::string revision;                        // request for a revision; likewise
  std::string compare;                         // question that a label answers; likewise
  std::string opposite;                        // instruction for the contrasting candidate (RLCD); likewise
  int priority = 1;                            // lower tiers win conflicts
  double weight = 1.0;                         // within a tier
  bool hard = false;                           // a hard constraint, not weighed
  std::vector<std::string> applies_to;         // prompt tags; empty: all
  std::vector<std::string> revision_openings;  // first words that commit a revision, one drawn by seed
  AnswerCheck check;                           // rules that a program verifies; empty: a judge decides
  bool has_no_check = false;                   // `check: none`: nothing is taken from the text either
  bool check_is_derived = false;               // taken from `text`, which says them plainly
  std::vector<PrincipleTest> tests;
  int line = 0;

  bool applies(const std::vector<std::string>& tags) const;
};

/// Few-shot exemplars: each a complete turn of its stage.
struct CritiqueExample {
  std::string prompt, response, critique, revision, principle;
};  // principle: the id of the one it is about, or ""
struct LabelExample {
  std::string prompt, a, b, better, reason, principle;
};  // better: "A" or "B"

struct Constitution {
  std::string name;
  std::string version;
  std::string file;
  std::string system;  // careful system prompt built from the principles or given; used by contrast
  std::vector<Principle> principles;
  std::vector<CritiqueExample> critique_examples;
  std::vector<LabelExample> label_examples;
  std::string source;  // the file's text, copied into the run
  std::string sha256;  // of `source`

  const Principle& principle(std::string_view id) const;  // throws Bug when absent
};

/// A plain YAML list of sentences is a valid constitution too. All problems together in one InputError, each
/// with file:line, what was found, what is accepted, the nearest valid name. Duplicate keys, ids and empty
/// texts are problems.
Constitution read_constitution(const std::filesystem::path& file);

/// The principle with the wordings that it leaves out (critique, revision, compare, opposite) derived from
/// its text.
Principle with_wordings(Principle principle);

/// The system text of a constitution that gives none: its principles in a row.
std::string derived_system(const Constitution& constitution);

Json to_json(const Constitution& constitution);

}  // namespace cai
