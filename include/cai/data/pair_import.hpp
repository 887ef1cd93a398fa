// Preference pairs in the forms that others publish them in, read as ours.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

struct ImportedPairs {
  std::vector<Json>
      records;        // {id, prompt, chosen, rejected, ...} or what the file held, when it is ours already
  long left_out = 0;  // records in which there is no pair: an empty answer, two dialogues that part before
                      // the last answer, a repetition
  std::vector<std::string> notes;  // one sentence each: what was left out and from which line on, thinking
                                   // blocks that were taken off
};

/// Reads a file of any form that read_rows reads but plain text, or a stage's folder. Told by their fields,
/// record by record:
///   ours           prompt with candidates, or chosen and rejected, or a and b, all texts
///   HH-RLHF        chosen and rejected as dialogues "\n\nHuman: ...\n\nAssistant: ...", no prompt. Of
///   several turns, all before the last answer are the
///                  prompt, as a transcript; a single question stands alone.
///   messages       (TRL, UltraFeedback) chosen and rejected as lists of {role, content}; prompt as a text or
///   such a list, else the messages
///                  before the last
///   ShareGPT       conversations as {from, value}, chosen and rejected as one such message each
/// Answers lose the thinking block that they begin with. A record without an id gets the file's name and its
/// number. Throws InputError with file and line for all records of another form, and when no pair is left.
ImportedPairs read_pairs(const std::filesystem::path& path);

}  // namespace cai
