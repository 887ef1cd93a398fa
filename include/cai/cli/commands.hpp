// What each command does. Results go to stdout, everything else to stderr.
#pragma once

#include <functional>

#include "cai/cli/arguments.hpp"
#include "cai/config/config.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// Commands that need no model. Returns the exit code.
int run_light(const Arguments& arguments);

/// All other commands. Returns the exit code.
int run_command(const Arguments& arguments);

/// The config that a command line stands for: file (else the run's own, else configs/default.yaml), then --set, then the command's flags.
Config config_of(const Arguments& arguments);

/// Figures as JSON, or one "name  value" a line with nested names joined by dots.
void print_figures(const Json& figures, bool as_json);

/// Runs `body`, prints an error as one line (one a problem) on stderr and returns its exit code.
int guarded(const std::function<int()>& body);

}  // namespace cai
