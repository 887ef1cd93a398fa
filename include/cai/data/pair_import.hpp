// Preference pairs in the forms that others publish them in, read as ours.
#pragma once

#include <filesystem>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

struct ImportedPairs {
  std::vector<Json> records;  // {id, prompt, chosen, rejected, ...} or what the file held, when it is ours already
  long left_out = 0;          // records of a foreign form in which no pair can be found (two dialogues that part earlier than the last answer, an empty answer)
};

/// Reads records (a JSONL file or a stage's folder). Told by their fields, record by record:
///   ours           prompt with candidates, or chosen and rejected, or a and b, all texts
///   HH-RLHF        chosen and rejected as dialogues "\n\nHuman: ...\n\nAssistant: ...", no prompt. Of several turns, all before the last answer are the
///                  prompt, as a transcript; a single question stands alone.
///   UltraFeedback  (binarized) chosen and rejected as lists of {role, content}; prompt, else the messages before the last
/// A record without an id gets the file's name and its number. Throws InputError as read_records does.
ImportedPairs read_pairs(const std::filesystem::path& path);

}  // namespace cai
