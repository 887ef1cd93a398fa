// cai-run: the commands that need a model. Started by cai (main.cpp) with the same arguments.
#include "cai/base/log.hpp"
#include "cai/base/stop.hpp"
#include "cai/cli/commands.hpp"
#include "cai/engine/threads.hpp"

int main(int argc, char** argv) {
  return cai::guarded([&] {
    cai::Arguments arguments = cai::parse_arguments(argc, argv);
    if (cai::is_light(arguments)) return cai::run_light(arguments);
    cai::set_log_level(arguments.quiet ? cai::LogLevel::kWarning : arguments.verbose ? cai::LogLevel::kDebug : cai::LogLevel::kInfo);
    cai::install_stop_handlers();
    cai::keep_freed_memory();
    return cai::run_command(arguments);
  });
}
