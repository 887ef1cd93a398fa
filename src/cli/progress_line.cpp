#include "cai/cli/progress_line.hpp"

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "cai/io/json.hpp"

namespace cai {
namespace {

using Clock = std::chrono::steady_clock;

struct State {
  std::string stage;
  Clock::time_point begin, drawn;
  long first_done = 0;
  std::int64_t first_tokens = 0;
};

std::string rate_text(double rate) {
  char text[32];
  std::snprintf(text, sizeof text, rate >= 100 ? "%.0f" : rate >= 1 ? "%.1f" : "%.3f", rate);
  return text;
}

void draw(const Progress& p, const State& state, ProgressStyle style, double seconds) {
  double done = static_cast<double>(p.done - state.first_done), rate = seconds > 0 ? done / seconds : 0;
  double left = rate > 0 ? static_cast<double>(p.total - p.done) / rate : -1;
  double tokens = seconds > 0 ? static_cast<double>(p.tokens - state.first_tokens) / seconds : 0;
  if (style == ProgressStyle::kJson) {
    Json line = {
        {"level", "progress"}, {"message", p.stage + " " + std::to_string(p.done) + "/" + std::to_string(p.total)}, {"stage", p.stage}, {"done", p.done}, {"total", p.total}, {"tokens", p.tokens}, {"seconds", std::round(seconds * 100) / 100}};
    if (left >= 0) line["seconds_left"] = std::round(left);
    if (!p.note.empty()) line["note"] = p.note;
    std::fprintf(stderr, "%s\n", to_line(line).c_str());
    return;
  }
  std::string line = p.stage + "  " + std::to_string(p.done) + "/" + std::to_string(p.total);
  if (p.total > 0) line += " (" + std::to_string(100 * p.done / p.total) + " %)";
  if (rate > 0) line += "  " + rate_text(rate) + "/s";
  if (tokens > 0) line += "  " + rate_text(tokens) + " tokens/s";
  if (left >= 0 && p.done < p.total) line += "  " + duration_text(left) + " left";
  if (p.done == p.total) line += "  " + duration_text(seconds);
  if (!p.note.empty()) line += "  " + p.note;
  if (style == ProgressStyle::kPlain) {
    std::fprintf(stderr, "%s\n", line.c_str());
    return;
  }
  static const bool no_color = std::getenv("NO_COLOR") && *std::getenv("NO_COLOR");
  std::string head = no_color ? p.stage : "\x1b[1m" + p.stage + "\x1b[0m";
  std::fprintf(stderr, "\r\x1b[K%s%s%s", head.c_str(), line.substr(p.stage.size()).c_str(), p.done == p.total ? "\n" : "");
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

ProgressFn progress_line(ProgressStyle style) {
  if (style == ProgressStyle::kSilent) return [](const Progress&) {};
  return [style, state = std::make_shared<State>()](const Progress& p) {
    Clock::time_point now = Clock::now();
    bool is_new = p.stage != state->stage, is_last = p.total > 0 && p.done >= p.total;
    if (is_new) *state = {p.stage, now, now, p.done, p.tokens};
    double since = std::chrono::duration<double>(now - state->drawn).count();
    double pause = style == ProgressStyle::kTerminal ? 0.2 : style == ProgressStyle::kJson ? 1 : 10;
    if (!is_new && !is_last && since < pause) return;
    state->drawn = now;
    draw(p, *state, style, std::chrono::duration<double>(now - state->begin).count());
  };
}

std::string duration_text(double seconds) {
  long whole = std::lround(std::max(seconds, 0.0));
  if (whole < 60) return std::to_string(whole) + " s";
  if (whole < 3600) return std::to_string(whole / 60) + " min " + std::to_string(whole % 60) + " s";
  return std::to_string(whole / 3600) + " h " + std::to_string(whole % 3600 / 60) + " min";
}

void end_progress_line(ProgressStyle style) {
  if (style == ProgressStyle::kTerminal) std::fprintf(stderr, "\r\x1b[K");
}

}  // namespace cai
