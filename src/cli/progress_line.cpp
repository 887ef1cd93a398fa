#include "cai/cli/progress_line.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "cai/base/log_sinks.hpp"
#include "cai/io/json.hpp"

namespace cai {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kTold = 0.05;  // share of a stage below which its time left is not known

std::atomic<bool> is_drawn{false};  // a line that is being redrawn stands on the terminal

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

struct State {
  std::string stage;
  Clock::time_point begin, drawn,
      counted;  // counted: when the first item was done; until then many are under way and none is
  long first_done = 0, first_counted = -1;
  std::int64_t first_tokens = 0;
  std::ptrdiff_t number = 0, stages = 0;  // which of how many; 0: not told
};

// Seconds left, or -1 where nobody can know yet. What is under way when the first items come in belongs to no
// rate.
double seconds_left(const Progress& p, const State& state, Clock::time_point now) {
  if (state.first_counted < 0 || p.done >= p.total) return -1;
  const double done = static_cast<double>(p.done - state.first_counted),
               seconds = seconds_between(state.counted, now);
  if (done < kTold * static_cast<double>(p.total - state.first_done) || seconds < 1) return -1;
  return static_cast<double>(p.total - p.done) * seconds / done;
}

std::string rate_text(double rate) {
  char text[32];
  std::snprintf(text, sizeof text, rate >= 100 ? "%.0f" : rate >= 1 ? "%.1f" : "%.3f", rate);
  return text;
}

void print_json(const Progress& p, const State& state, double seconds, double left) {
  Json line = {{"level", "progress"},
               {"message", p.stage + " " + std::to_string(p.done) + "/" + std::to_string(p.total)},
               {"stage", p.stage},
               {"done", p.done},
               {"total", p.total},
               {"tokens", p.tokens},
               {"seconds", std::round(seconds * 100) / 100}};
  if (state.number > 0) {
    line["stage_number"] = state.number;
    line["stages"] = state.stages;
  }
  if (left >= 0) line["seconds_left"] = std::round(left);
  if (!p.note.empty()) line["note"] = p.note;
  std::fprintf(stderr, "%s\n", to_line(line).c_str());
}

// Columns of the terminal, 80 where it does not say.
std::size_t terminal_width() {
  winsize size = {};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void redraw(std::string line, std::size_t head, bool is_last) {
  const std::size_t width = terminal_width();
  if (line.size() >= width) line.resize(width > 0 ? width - 1 : 0);  // a line that wraps cannot be redrawn
  head = std::min(head, line.size());
  static const bool no_color = std::getenv("NO_COLOR") && *std::getenv("NO_COLOR");
  const std::string bold = no_color ? line.substr(0, head) : "\x1b[1m" + line.substr(0, head) + "\x1b[0m";
  std::fprintf(stderr, "\r\x1b[K%s%s%s", bold.c_str(), line.substr(head).c_str(), is_last ? "\n" : "");
  std::fflush(stderr);
  is_drawn = !is_last;
}

void draw(const Progress& p, const State& state, ProgressStyle style, Clock::time_point now) {
  const double seconds = seconds_between(state.begin, now), left = seconds_left(p, state, now);
  if (style == ProgressStyle::kJson) return print_json(p, state, seconds, left);
  const double rate = seconds > 0 ? static_cast<double>(p.done - state.first_done) / seconds : 0;
  const double tokens = seconds > 0 ? static_cast<double>(p.tokens - state.first_tokens) / seconds : 0;
  std::string line = state.number > 0 ? "[" + std::to_string(state.number) + "/" +
                                            std::to_string(state.stages) + "] " + p.stage
                                      : p.stage;
  const std::size_t head = line.size();
  line += "  " + std::to_string(p.done) + "/" + std::to_string(p.total);
  if (p.total > 0) line += " (" + std::to_string(100 * p.done / p.total) + " %)";
  if (left >= 0) line += "  " + duration_text(left) + " left";
  if (p.done == p.total) line += "  " + duration_text(seconds);
  if (tokens > 0)
    line += "  " + rate_text(tokens) + " tokens/s";
  else if (rate > 0)
    line += "  " + rate_text(rate) + "/s";
  if (!p.note.empty()) line += "  " + p.note;
  if (style == ProgressStyle::kPlain)
    std::fprintf(stderr, "%s\n", line.c_str());
  else
    redraw(line, head, p.done == p.total);
}

void clear_line() {
  if (!is_drawn.exchange(false)) return;
  std::fprintf(stderr, "\r\x1b[K");
  std::fflush(stderr);
}

}  // namespace

ProgressStyle progress_style(bool json, bool quiet) {
  if (json) return ProgressStyle::kJson;
  if (quiet) return ProgressStyle::kSilent;
  const char* terminal = std::getenv("TERM");
  bool can_redraw = isatty(STDERR_FILENO) && terminal && std::strcmp(terminal, "dumb") != 0;
  return can_redraw ? ProgressStyle::kTerminal : ProgressStyle::kPlain;
}

ProgressFn progress_line(ProgressStyle style, std::shared_ptr<const std::vector<std::string>> stages) {
  if (style == ProgressStyle::kSilent) return [](const Progress&) {};
  set_before_log(clear_line);
  return [style, stages, state = std::make_shared<State>()](const Progress& p) {
    const Clock::time_point now = Clock::now();
    const bool is_new = p.stage != state->stage, is_last = p.total > 0 && p.done >= p.total;
    if (is_new) *state = {p.stage, now, now, now, p.done, -1, p.tokens};
    if (is_new && stages) {
      const auto found = std::find(stages->begin(), stages->end(), p.stage);
      if (found != stages->end()) state->number = found - stages->begin() + 1;
      state->stages = static_cast<std::ptrdiff_t>(stages->size());
    }
    if (state->first_counted < 0 && p.done > state->first_done) {
      state->first_counted = p.done;
      state->counted = now;
    }
    const double since = seconds_between(state->drawn, now);
    const double pause = style == ProgressStyle::kTerminal ? 0.2 : style == ProgressStyle::kJson ? 1 : 10;
    if (!is_new && !is_last && since < pause) return;
    state->drawn = now;
    draw(p, *state, style, now);
  };
}

std::string duration_text(double seconds) {
  long whole = std::lround(std::max(seconds, 0.0));
  if (whole < 60) return std::to_string(whole) + " s";
  if (whole < 3600) return std::to_string(whole / 60) + " min " + std::to_string(whole % 60) + " s";
  return std::to_string(whole / 3600) + " h " + std::to_string(whole % 3600 / 60) + " min";
}

void end_progress_line(ProgressStyle style) {
  if (style == ProgressStyle::kTerminal) clear_line();
}

}  // namespace cai
