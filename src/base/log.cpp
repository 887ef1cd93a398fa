#include "cai/base/log.hpp"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "cai/base/log_sinks.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    const bool colour = isatty(STDERR_FILENO) && std::getenv("NO_COLOR") == nullptr;
    auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(colour ? spdlog::color_mode::always
                                                                             : spdlog::color_mode::never);
    auto made = std::make_shared<spdlog::logger>("cai", sink);
    made->set_pattern("%^%l:%$ %v");
    return made;
  }();
  return *instance;
}

struct Extra {
  std::mutex mutex;
  std::shared_ptr<spdlog::logger> file;
  std::function<void()> clear;
};

Extra& extra() {
  static Extra instance;
  return instance;
}

std::atomic<bool> as_json = false;

// The inside of a string of JSON. `text` is printable: of what JSON escapes it holds quotes, backslashes,
// line breaks and tabs.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else
      out += c;
  }
  return out;
}

void say(spdlog::level::level_enum level, const char* name, const std::string& message) {
  before_log();
  const std::string text = printable(message);
  if (as_json)
    logger().log(level, "{}",
                 "{\"level\":\"" + std::string(name) + "\",\"message\":\"" + escaped(text) + "\"}");
  else
    logger().log(level, "{}", text);
  const std::lock_guard lock(extra().mutex);
  if (extra().file) extra().file->log(level, "{}", escaped(text));
}

}  // namespace

void log_as_json() {
  as_json = true;
  logger().set_pattern("%v");
}

bool logs_json() {
  return as_json;
}

void tell_error(const std::string& line) {
  before_log();
  if (as_json)
    std::fprintf(stderr, "{\"level\":\"error\",\"message\":\"%s\"}\n", escaped(printable(line)).c_str());
  else
    std::fprintf(stderr, "error: %s\n", printable(line).c_str());
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

void log_to_file(const std::filesystem::path& file) {
  const std::lock_guard lock(extra().mutex);
  extra().file.reset();
  if (file.empty()) return;
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file.string());
    extra().file = std::make_shared<spdlog::logger>("file", sink);
  } catch (const spdlog::spdlog_ex& failed) {
    logger().warn("{}", printable(failed.what()));
    return;
  }
  extra().file->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S%z","level":"%l","message":"%v"})");
  extra().file->flush_on(spdlog::level::trace);
  extra().file->set_error_handler([](const std::string&) {});  // a full disk is told by what writes results
}

void set_before_log(std::function<void()> clear) {
  const std::lock_guard lock(extra().mutex);
  extra().clear = std::move(clear);
}

void before_log() {
  std::function<void()> clear;
  {
    const std::lock_guard lock(extra().mutex);
    clear = extra().clear;
  }
  if (clear) clear();
}

void log_debug(const std::string& message) {
  say(spdlog::level::debug, "debug", message);
}
void log_info(const std::string& message) {
  say(spdlog::level::info, "info", message);
}
void log_warning(const std::string& message) {
  say(spdlog::level::warn, "warning", message);
}
void log_error(const std::string& message) {
  say(spdlog::level::err, "error", message);
}

}  // namespace cai
