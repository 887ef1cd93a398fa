// Progress on stderr: one line redrawn on a terminal, a plain line now and then when piped, JSON lines for
// machines.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cai/base/progress.hpp"

namespace cai {

enum class ProgressStyle { kSilent, kTerminal, kPlain, kJson };

/// Terminal when stderr is one (and TERM is not "dumb"), else plain; --json and --quiet go first.
ProgressStyle progress_style(bool json, bool quiet);

/// A function that draws; it keeps its own state. Time left is told once a twentieth of the stage is done,
/// measured from the first item on: until then many are under way and none is done. `stages`: all stages of a
/// run, to say which one this is; it may be filled later.
ProgressFn progress_line(ProgressStyle style,
                         std::shared_ptr<const std::vector<std::string>> stages = nullptr);

/// "48 s", "3 min 20 s", "2 h 5 min"
std::string duration_text(double seconds);

/// Ends a line that is being redrawn, so that other output starts on a fresh one.
void end_progress_line(ProgressStyle style);

}  // namespace cai
