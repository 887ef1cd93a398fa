// Where log lines go besides stderr, and what has to happen before one is printed.
#pragma once

#include <filesystem>
#include <functional>

namespace cai {

/// From now on every log line is also appended to this file as {"time", "level", "message"}, one a line; time
/// is local, with its offset from UTC. A file that cannot be written is told once and left alone. An empty
/// path ends it.
void log_to_file(const std::filesystem::path& file);

/// Called before anything is printed to stderr that is no progress line, so that it does not continue a line
/// that is being redrawn.
void set_before_log(std::function<void()> clear);

/// Calls it.
void before_log();

}  // namespace cai
