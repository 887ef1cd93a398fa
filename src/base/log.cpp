#include "cai/base/log.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "cai/base/text.hpp"

namespace cai {
namespace {

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    const bool colour = isatty(STDERR_FILENO) && std::getenv("NO_COLOR") == nullptr;
    auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(colour ? spdlog::color_mode::always : spdlog::color_mode::never);
    auto made = std::make_shared<spdlog::logger>("cai", sink);
    made->set_pattern("%^%l%$ %v");
    return made;
  }();
  return *instance;
}

std::atomic<bool> as_json = false;

// A string of JSON; `text` is printable: of what JSON escapes it holds quotes, backslashes, line breaks and tabs.
std::string json_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') out += "\\n";
    else if (c == '\t') out += "\\t";
    else out += c;
  }
  return out + '"';
}

void write(spdlog::level::level_enum level, const char* name, const std::string& message) {
  const std::string text = printable(message);
  if (as_json) logger().log(level, "{}", "{\"level\":\"" + std::string(name) + "\",\"message\":" + json_string(text) + "}");
  else logger().log(level, "{}", text);
}

}  // namespace

void log_as_json() {
  as_json = true;
  logger().set_pattern("%v");
}

bool logs_json() { return as_json; }

void tell_error(const std::string& line) {
  if (as_json) std::fprintf(stderr, "{\"level\":\"error\",\"message\":%s}\n", json_string(printable(line)).c_str());
  else std::fprintf(stderr, "%s\n", printable(line).c_str());
}

void set_log_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return logger().set_level(spdlog::level::debug);
    case LogLevel::kInfo: return logger().set_level(spdlog::level::info);
    case LogLevel::kWarning: return logger().set_level(spdlog::level::warn);
    case LogLevel::kError: return logger().set_level(spdlog::level::err);
    case LogLevel::kOff: return logger().set_level(spdlog::level::off);
  }
}

void log_debug(const std::string& message) { write(spdlog::level::debug, "debug", message); }
void log_info(const std::string& message) { write(spdlog::level::info, "info", message); }
void log_warning(const std::string& message) { write(spdlog::level::warn, "warning", message); }
void log_error(const std::string& message) { write(spdlog::level::err, "error", message); }

}  // namespace cai
