// Records: one self-contained JSON object a line, in numbered shards of a stage's folder.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cai/io/file.hpp"
#include "cai/io/json.hpp"
#include "cai/io/manifest.hpp"

namespace cai {

/// Reads all records of a JSONL file (.jsonl, .jsonl.zst) or of a folder of shards, in order.
/// A folder with a manifest must match it; without one, all *.jsonl files in name order are read.
/// Throws InputError with file and line on a line that is not a JSON object, and on an `id` that repeats.
std::vector<Json> read_records(const std::filesystem::path& path);

/// Writes the records of one stage in order, resumably. Acknowledged records (flushed) survive SIGKILL and
/// power loss. Unfinished folders hold shards, the hash of a shard up to each line (progress.hashes) and no
/// manifest; reopening with the same key continues after the last line that has its hash: what is torn or
/// damaged is made again. With another key the unfinished folder is moved aside to <folder>.stale-N (nothing
/// is deleted).
class RecordWriter {
 public:
  RecordWriter(const std::filesystem::path& folder, std::string stage, std::string key,
               long shard_records = 1024);
  ~RecordWriter();

  /// Records that an earlier, interrupted process has already written.
  const std::vector<Json>& already_written() const;

  /// Appends record `index` of the output; indices may come out of order (within a window) and are written in
  /// order.
  void write(std::size_t index, Json record);

  /// Makes everything contiguous so far durable. Called by the writer itself too: after 64 records where that
  /// takes at most a fiftieth of the time, and after two seconds in any case.
  void flush();

  /// Records that survive SIGKILL and power loss: those that progress may count.
  std::size_t durable() const;

  /// Syncs, hashes and publishes the manifest, which lists `extras` (other files of the folder) too. No
  /// record may be missing.
  void finish(const Json& figures, double seconds, const std::vector<std::string>& extras = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Removes what only an unfinished folder of records needs.
void remove_progress(const std::filesystem::path& folder);

}  // namespace cai
