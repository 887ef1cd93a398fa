// How the tensor column uses threads and memory.
#pragma once

#include <string>

namespace cai {

/// 0: all cores. Sets torch's and the engine's threads; call before any work.
void set_threads(long threads);

/// Lets freed blocks of up to 32 MB stay with the process: a training step asks for the same ones again, and
/// returning them to the kernel each time was 5 % of its time.
void keep_freed_memory();

/// Version of the torch library that is linked.
std::string torch_version();

}  // namespace cai
