#include "cai/pipeline/version.hpp"

#include <sys/sysinfo.h>

#include <fstream>
#include <thread>

#include "cai/base/text.hpp"

namespace cai {

std::string version() {
  return CAI_VERSION;
}

Json build_facts() {
  return {{"version", CAI_VERSION},
          {"git", CAI_GIT},
          {"compiler", "g++ " __VERSION__},
          {"build", CAI_BUILD},
          {"torch", CAI_TORCH}};
}

Json machine_facts() {
  std::string model = "unknown";
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) {
      model = trim(line.substr(line.find(':') + 1));
      break;
    }
  }
  struct sysinfo memory {};
  sysinfo(&memory);
  return {{"model", model},
          {"cores", std::thread::hardware_concurrency()},
          {"memory_bytes", static_cast<std::int64_t>(memory.totalram) * memory.mem_unit}};
}

}  // namespace cai
