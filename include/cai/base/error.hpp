// The four kinds of failure. Thrown where they are seen, caught once in main, printed as one line.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

namespace cai {

/// Exit codes of the program; scripts depend on them.
enum ExitCode { kDone = 0, kFailed = 1, kBadInput = 2, kStopped = 75, kGateFailed = 100 };

class Error : public std::runtime_error {
 public:
  Error(int exit_code, const std::string& message) : std::runtime_error(message), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

/// A wrong flag, command or combination of them.
struct UsageError : Error {
  explicit UsageError(const std::string& message) : Error(kBadInput, message) {}
};

/// A file that cannot be used as it is. The message reads "file:line: what was found; what is accepted".
/// Several problems of one file or plan are reported together, one a line.
struct InputError : Error {
  explicit InputError(const std::string& message) : Error(kBadInput, message) {}
  InputError(const std::string& file, long line, const std::string& message);  // line 0: of the whole file
};

/// The machine said no: disk, network, memory, permissions.
struct EnvironmentError : Error {
  explicit EnvironmentError(const std::string& message) : Error(kFailed, message) {}
};

/// Training went wrong (non-finite loss, exploding KL, ...): says what was seen and what to try.
struct TrainingError : Error {
  explicit TrainingError(const std::string& message) : Error(kFailed, message) {}
};

/// A signal asked us to stop, or a budget is spent (`why` says which); everything up to the last durable
/// point is kept.
struct Stopped : Error {
  explicit Stopped(const std::string& why = "stopped") : Error(kStopped, why) {}
};

/// A broken invariant of ours.
struct Bug : Error {
  explicit Bug(const std::string& message) : Error(kFailed, "internal error: " + message) {}
};

/// Throws one InputError with all problems, one a line, when there are any: the first hundred, and how many
/// more.
void throw_problems(const std::vector<std::string>& problems);

}  // namespace cai
