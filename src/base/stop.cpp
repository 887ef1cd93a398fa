#include "cai/base/stop.hpp"

#include <signal.h>
#include <unistd.h>

#include "cai/base/error.hpp"

namespace cai {
namespace {

volatile sig_atomic_t signals = 0;

void on_signal(int) {
  if (signals > 0) _exit(kStopped);
  signals = 1;
}

}  // namespace

void install_stop_handlers() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool stop_requested() { return signals > 0; }

void stop_if_requested() {
  if (stop_requested()) throw Stopped();
}

}  // namespace cai
