// What each command does. Results go to stdout, everything else to stderr.
#pragma once

#include <functional>
#include <string>

#include "cai/cli/arguments.hpp"
#include "cai/config/config.hpp"
#include "cai/io/json.hpp"

namespace cai {

/// Commands that need no model. Returns the exit code.
int run_light(const Arguments& arguments);

/// cai constitution show | lint | diff | conflicts. Returns the exit code.
int run_constitution(const Arguments& arguments);

/// init DIR: a constitution and prompts to begin with. Overwrites nothing.
int run_init(const Arguments& arguments);

/// explain RUN ID, review.
int run_records(const Arguments& arguments);

/// export, chat, explain of a model, constitution infer.
int run_model_command(const Arguments& arguments);

/// One stage by itself: prompts, generate, ..., eval, score.
int run_stage_command(const Arguments& arguments);
bool is_stage_command(const std::string& name);

/// report: the page of a run, or of two. Returns the exit code.
int run_report(const Arguments& arguments);

/// check: exchanges under a constitution. Returns the exit code.
int run_check(const Arguments& arguments);

/// guard train | show | exam. Returns the exit code.
int run_guard(const Arguments& arguments);

/// A whole number from 1. Throws UsageError naming the flag.
long positive_integer(const std::string& text, const std::string& flag);

/// All other commands. Returns the exit code.
int run_command(const Arguments& arguments);

/// The config that a command line stands for: file (else the run's own, else configs/default.yaml), then
/// --set, then the command's flags.
Config config_of(const Arguments& arguments);

/// Figures as JSON, or one "name  value" a line with nested names joined by dots.
void print_figures(const Json& figures, bool as_json);

/// Eval's figures for people on stdout: a row a measure, a column a model, each value with its 95 % interval;
/// then what changed, in words.
void print_measures(const Json& figures);

/// With --json everything on stderr is JSON lines: log, errors (those of the command line too) and progress.
/// Called before guarded().
void log_json_if_asked(int argc, char** argv);

/// Runs `body`, prints an error as one line (one a problem) on stderr and returns its exit code.
int guarded(const std::function<int()>& body);

}  // namespace cai
