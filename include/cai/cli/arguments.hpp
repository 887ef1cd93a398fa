// The command line: what can be typed, parsed into one plain struct. No torch in reach, so that --help,
// --version, completion and wrong flags answer at once.
#pragma once

#include <string>
#include <vector>

#include "cai/cli/release_arguments.hpp"

namespace cai {

struct Arguments {
  std::string command;  // "train", "config show", ...; "print" for --help and --version
  std::string text;     // what "print" prints

  bool json = false, quiet = false, verbose = false;

  // Values as typed; "" where absent. Numbers are checked where the config declares them.
  std::string config, constitution, out;
  std::vector<std::string> models, sets, prompts, reuse;
  std::string temperature, max_new_tokens, seed, iterations;
  std::string
      input;  // the records that a stage reads: --responses, --critiques, --revisions, --pairs, --labels
  std::string reward, initial, round = "1", format = "hf", dtype, system, prompt, shell, topic, most_pairs,
                               principles, against, scores, port, failures, best_of, towards, share,
                               tensorboard;
  bool contrast = false, include_train = false, web = false, all = false, force = false;
  // Of check and guard.
  std::string exchanges, answer, judge, guard, trunk, false_positives;
  std::vector<std::string> maps, gates;
  bool reasons = false;
  std::string run, other;  // the run, file or folder that a command is about; a second one

  std::string feedback;  ///< who criticises, revises and labels
  ReleaseArguments release;
  /// The one model of commands that take one, "" when absent.
  std::string model() const { return models.empty() ? "" : models.back(); }
};

/// Throws UsageError for anything wrong, naming the nearest command or flag.
Arguments parse_arguments(int argc, const char* const* argv);

/// Whether the command needs no model: config, constitution, completion, print.
bool is_light(const Arguments& arguments);

/// Completion script for "bash", "zsh" or "fish". Throws UsageError for another shell.
std::string completion(const std::string& shell);

}  // namespace cai
