// Training metrics as TensorBoard event files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4).
std::uint32_t crc32c(std::string_view bytes);

/// The bytes of an event file: a TFRecord of the version, then one a line of metrics with each number as a
/// scalar `prefix`/name (numbers in objects: `prefix`/name/key). A line's step is its `step` or `update`,
/// else its number from 1. `time`: seconds since 1970, of all events.
std::string event_file(const std::vector<Json>& metrics, const std::string& prefix, double time);

/// Writes FOLDER/ITERATION/STAGE/events.out.tfevents.cai for each training stage of the run that has metrics;
/// the events' time is when the stage wrote last. Returns the files. Throws InputError where there are none.
std::vector<std::filesystem::path> write_event_files(const std::filesystem::path& run,
                                                     const std::filesystem::path& folder);

}  // namespace cai
