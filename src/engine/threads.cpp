#include "cai/engine/threads.hpp"

#include <ATen/Parallel.h>
#include <malloc.h>
#include <omp.h>
#include <torch/version.h>

#include <thread>

namespace cai {

void set_threads(long threads) {
  const int count = threads > 0 ? static_cast<int>(threads)
                                : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  at::set_num_threads(count);
  omp_set_num_threads(count);
}

void keep_freed_memory() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
}

std::string torch_version() {
  return TORCH_VERSION;
}

}  // namespace cai
