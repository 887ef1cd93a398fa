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
  for (const int number : {SIGHUP, SIGXCPU}) {  // a closed terminal (unless nohup keeps us), a time limit
    struct sigaction old = {};
    if (sigaction(number, nullptr, &old) == 0 && old.sa_handler != SIG_IGN)
      sigaction(number, &action, nullptr);
  }
  // A file-size limit or a reader that went away is an error of that write, told in a line, not a death.
  for (const int number : {SIGXFSZ, SIGPIPE})
    signal(number, SIG_IGN);
}

bool stop_requested() {
  return signals > 0;
}

void stop_if_requested() {
  if (stop_requested()) throw Stopped();
}

}  // namespace cai
