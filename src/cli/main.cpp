// The front of the program: parses the command line and answers what needs no model. Everything else is
// cai-run, beside this binary: the same command line with torch loaded. Loading torch takes 0.4 s, this takes
// 0.01 s.
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "cai/base/error.hpp"
#include "cai/cli/commands.hpp"

namespace {

// What torch's libraries are told by the environment changes how they add up, and is in no stage's key: none
// of it reaches the program.
void forget_library_settings() {
  std::vector<std::string> names;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string name = std::string(*entry).substr(0, std::strcspn(*entry, "="));
    for (const char* of : {"ONEDNN_", "DNNL_", "MKL_", "ATEN_CPU_CAPABILITY"})
      if (name.starts_with(of)) names.push_back(name);
  }
  for (const std::string& name : names)
    ::unsetenv(name.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  cai::log_json_if_asked(argc, argv);
  return cai::guarded([&] {
    cai::Arguments arguments = cai::parse_arguments(argc, argv);
    if (cai::is_light(arguments)) return cai::run_light(arguments);
    constexpr rlim_t kLeast =
        rlim_t{512}
        << 20;  // with less the loader, or torch before any of our code, ends the process in words of its own
    rlimit space = {};
    if (::getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur < kLeast)
      throw cai::EnvironmentError("the limit on address space (ulimit -v) is " +
                                  std::to_string(space.rlim_cur >> 20) + " MB; " +
                                  std::to_string(kLeast >> 20) + " MB are needed to load the program alone");
    std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "cai-run";
    // GNU OpenMP's threads wait for each other in a loop that never lets go of the core. Beside other busy
    // processes that made a run twelve times slower (47 s instead of 4 for 128 tokens); after so many turns
    // they now sleep, which alone on the machine costs nothing that shows. The runtime reads this when it is
    // loaded.
    ::setenv("GOMP_SPINCOUNT", "5000", 0);
    // Memory in pages of 2 MB where the system gives them: a model's first touch was a tenth of a short run,
    // of one answer a fifth of the start.
    ::setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 0);
    forget_library_settings();
    ::execv(program.c_str(), argv);
    throw cai::EnvironmentError(program.string() + ": cannot be started: " + std::strerror(errno));
  });
}
