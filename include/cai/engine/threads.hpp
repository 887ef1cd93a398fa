// How many threads the tensor column uses.
#pragma once

#include <string>

namespace cai {

/// 0: all cores. Sets torch's and the engine's threads; call before any work.
void set_threads(long threads);

/// Version of the torch library that is linked.
std::string torch_version();

}  // namespace cai
