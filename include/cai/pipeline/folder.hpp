// One stage's folder: skipped when its manifest's key fits, moved aside when it holds something else, resumed
// when it is unfinished. Shared by runs and by the commands of single stages.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "cai/config/config.hpp"
#include "cai/io/records.hpp"

namespace cai {

struct StageResult {
  Json figures;
  double seconds = 0;
  bool was_done = false;  // nothing had to run
};

/// Input that turns out to be bad while `body` begins leaves nothing behind: `folder` and what is missing
/// above it, which body creates, are removed again unless they were there before or hold any work.
void undone_by_bad_input(const std::filesystem::path& folder, const std::function<void()>& body);

/// `body` writes all records and returns figures. `spent`: seconds of earlier, interrupted attempts.
/// `extras`: further files that body leaves in the folder; they join the manifest with their hash.
StageResult run_record_stage(const std::filesystem::path& folder, const std::string& stage,
                             const std::string& key, double spent, const std::vector<std::string>& extras,
                             const std::function<Json(RecordWriter&)>& body);

/// `body` leaves files (checkpoint/, metrics.jsonl, ...) in the folder; all but state/ join the manifest.
StageResult run_training_stage(const std::filesystem::path& folder, const std::string& stage,
                               const std::string& key, double spent, const std::function<Json()>& body);

/// Takes the finished stage of this key that one of `others` holds over to `folder`, which must not exist:
/// its files are linked (copied where the file system cannot), after each was compared with its hash. Returns
/// the folder it came from, empty when none fits.
std::filesystem::path take_over(const std::vector<std::filesystem::path>& others,
                                const std::filesystem::path& folder, const std::string& key);

/// Folders <folder>.stale-N that hold the finished stage of this key; none where `folder` itself does.
std::vector<std::filesystem::path> set_aside_before(const std::filesystem::path& folder,
                                                    const std::string& key);

/// The key of an unfinished training folder, "" when there is none.
std::string unfinished_key(const std::filesystem::path& folder);

/// Renames the folder to the first free <folder>.stale-N. Returns the new name.
std::filesystem::path move_aside(const std::filesystem::path& folder);

/// Whether a folder has no files but the traces of a run that was stopped before its first one: its lock,
/// run.json not yet published.
bool holds_nothing(const std::filesystem::path& folder);

/// What determines a stage's output, as an object; its key is the SHA-256 of this object's line.
std::string key_of(const Json& ingredients);

/// SHA-256 over the lines of records: names an input in a key.
std::string hash_of(const std::vector<Json>& records);

/// The lines of a config section that bear on results: not those on checkpoints' times, threads and batch
/// width, and gates.
std::vector<std::string> key_lines(const Config& config, const std::string& section);

}  // namespace cai
