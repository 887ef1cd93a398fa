#include "cai/pipeline/hybrid.hpp"

#include "cai/base/log.hpp"
#include "cai/data/pair_import.hpp"
#include "cai/pipeline/folder.hpp"
#include "cai/pipeline/home.hpp"
#include "cai/stages/asking.hpp"
#include "cai/stages/near_duplicates.hpp"

namespace cai {
namespace {

// One file's pairs, those that `is_kept` says.
void add_pairs(HumanPairs& to, const std::string& path, const std::function<bool(const Json&)>& is_kept,
               std::vector<std::string>& notes) {
  ImportedPairs pairs = read_pairs(find_shipped(path));
  notes.insert(notes.end(), pairs.notes.begin(), pairs.notes.end());
  std::erase_if(pairs.records, [&](const Json& record) { return !is_kept(record); });
  to.hashes.push_back(hash_of(pairs.records));
  const std::string file = "human-" + std::to_string(to.hashes.size()) + "/";
  for (Json& record : pairs.records) {  // ids of two files, or of a file and the labels, may be the same
    record["id"] = file + record_id(record, to.records.size());
    to.records.push_back(std::move(record));
  }
}

bool keep_all(const Json&) {
  return true;
}

void note_left_out(Brought& brought, const std::string& setting, long count) {
  if (count == 0) return;
  brought.left_out[setting] = count;
  brought.notes.push_back(setting + ": " + std::to_string(count) +
                          (count == 1 ? " record is" : " records are") +
                          " left out: the prompt is nearly the same as one that eval or the exam asks");
}

}  // namespace

People people_of(const HybridConfig& config) {
  std::vector<Json> all;
  for (const std::string& path : config.decisions)
    for (Json& decision : read_decisions(path))
      all.push_back(std::move(decision));
  return People(all);
}

std::vector<Json> human_pairs_of(const std::vector<std::string>& files) {
  HumanPairs pairs;
  std::vector<std::string> notes;
  for (const std::string& path : files)
    add_pairs(pairs, path, keep_all, notes);
  for (const std::string& note : notes)
    log_warning(note);
  return std::move(pairs.records);
}

Brought read_brought(const Config& config, const std::vector<std::string>& evaluated,
                     const std::function<void(const std::function<void()>&)>& attempt) {
  Brought brought;
  for (const std::string& path : config.label.exam_pairs)
    attempt([&] { add_pairs(brought.exam_pairs, path, keep_all, brought.notes); });
  NearDuplicates asked(config.prompts.near_duplicate);
  for (const std::string& text : evaluated)
    asked.add(text);
  for (const Json& pair : brought.exam_pairs.records)
    asked.add(optional_text(pair, "prompt"));
  long pairs_left = 0, decisions_left = 0;
  const auto is_clear = [&](const Json& record, long& left) {
    const bool is_asked = asked.has_like(optional_text(record, "prompt"));
    left += is_asked;
    return !is_asked;
  };
  for (const std::string& path : config.hybrid.pairs)
    attempt([&] {
      add_pairs(
          brought.pairs, path, [&](const Json& record) { return is_clear(record, pairs_left); },
          brought.notes);
    });
  std::vector<Json> decisions;
  for (const std::string& path : config.hybrid.decisions)
    attempt([&] {
      std::vector<Json> mine = read_decisions(path);
      std::erase_if(mine, [&](const Json& record) { return !is_clear(record, decisions_left); });
      brought.decision_hashes.push_back(hash_of(mine));
      decisions.insert(decisions.end(), mine.begin(), mine.end());
    });
  brought.people = People(decisions);
  note_left_out(brought, "hybrid.pairs", pairs_left),
      note_left_out(brought, "hybrid.decisions", decisions_left);
  return brought;
}

std::vector<std::string> test_prompts(const Constitution& constitution) {
  std::vector<std::string> texts;
  for (const Principle& principle : constitution.principles)
    for (const PrincipleTest& test : principle.tests)
      texts.push_back(test.prompt);
  return texts;
}

std::vector<std::string> evaluated_texts(const std::vector<Prompt>& prompts,
                                         const Constitution& constitution) {
  std::vector<std::string> texts = test_prompts(constitution);
  for (const Prompt& prompt : prompts)
    if (prompt.split == "held-out") texts.push_back(prompt.text);
  return texts;
}

}  // namespace cai
