// How a long job tells how far it is. The command line draws it; tests ignore it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace cai {

struct Progress {
  std::string stage;
  long done = 0, total = 0;  // records or steps
  std::int64_t tokens = 0;   // computed so far in this stage, 0: not counted
  std::string note;          // a few words on the last step ("loss 1.92"), or ""
};

using ProgressFn = std::function<void(const Progress&)>;

}  // namespace cai
