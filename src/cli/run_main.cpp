// cai-run: the commands that need a model. Started by cai (main.cpp) with the same arguments.
#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "cai/base/log.hpp"
#include "cai/base/stop.hpp"
#include "cai/cli/commands.hpp"
#include "cai/engine/threads.hpp"

int main(int argc, char** argv) {
  cai::log_json_if_asked(argc, argv);
  const int code = cai::guarded([&] {
    cai::Arguments arguments = cai::parse_arguments(argc, argv);
    if (cai::is_light(arguments)) return cai::run_light(arguments);
    cai::set_log_level(arguments.quiet     ? cai::LogLevel::kWarning
                       : arguments.verbose ? cai::LogLevel::kDebug
                                           : cai::LogLevel::kInfo);
    cai::install_stop_handlers();
    cai::keep_freed_memory();
    return cai::run_command(arguments);
  });
  // No destructors of static objects: torch takes 0.1 s to take its operators back one by one.
  std::cout.flush();
  std::fflush(nullptr);
  ::_exit(code);
}
