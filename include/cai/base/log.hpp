// Log lines to stderr, made printable here whatever they quote. spdlog stays behind this header: its fmt
// clashes with the one in torch's include folder.
#pragma once

#include <string>

namespace cai {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

/// Lowest level that is printed (default kInfo). Safe from any thread.
void set_log_level(LogLevel level);

/// From now on each line is a JSON object: {"level": "warning", "message": "..."}.
void log_as_json();
bool logs_json();

/// What ends the program, in the form of the log, whatever the level: a plain line without "error" before it,
/// or a JSON object.
void tell_error(const std::string& line);

void log_debug(const std::string& message);
void log_info(const std::string& message);
void log_warning(const std::string& message);
void log_error(const std::string& message);

}  // namespace cai
