// What this program is, as fixed when it was configured. Provenance of runs and `cai --version`.
#pragma once

#include <string>

#include "cai/io/json.hpp"

namespace cai {

std::string version();  ///< "0.2.0"

/// {version, git, compiler, build, torch}: torch is the version that was compiled against.
Json build_facts();

/// {model, cores, memory_bytes} of this machine.
Json machine_facts();

}  // namespace cai
