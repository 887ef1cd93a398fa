#include "cai/base/amx.hpp"

#include <sys/syscall.h>
#include <unistd.h>

namespace cai {

bool has_amx() {
  // The registers are 8 KB that the system keeps for each thread, so it wants to be asked.
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16") &&
                          __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") && [] {
                            constexpr long kAskForState = 0x1023,
                                           kTileData = 18;  // ARCH_REQ_XCOMP_PERM of arch_prctl(2)
                            return syscall(SYS_arch_prctl, kAskForState, kTileData) == 0;
                          }();
  return has;
}

}  // namespace cai
