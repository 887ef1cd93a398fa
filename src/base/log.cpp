#include "cai/base/log.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

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

}  // namespace

void set_log_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return logger().set_level(spdlog::level::debug);
    case LogLevel::kInfo: return logger().set_level(spdlog::level::info);
    case LogLevel::kWarning: return logger().set_level(spdlog::level::warn);
    case LogLevel::kError: return logger().set_level(spdlog::level::err);
    case LogLevel::kOff: return logger().set_level(spdlog::level::off);
  }
}

void log_debug(const std::string& message) { logger().debug("{}", printable(message)); }
void log_info(const std::string& message) { logger().info("{}", printable(message)); }
void log_warning(const std::string& message) { logger().warn("{}", printable(message)); }
void log_error(const std::string& message) { logger().error("{}", printable(message)); }

}  // namespace cai
