#include "cai/io/home.hpp"

#include <cstdlib>
#include <system_error>

namespace cai {

namespace fs = std::filesystem;

fs::path home() {
  if (const char* set = std::getenv("CAI_HOME"); set && *set) return set;
  std::error_code ignored;
  const fs::path binary = fs::read_symlink("/proc/self/exe", ignored);
  for (fs::path folder = binary.parent_path(); folder.has_relative_path(); folder = folder.parent_path()) {
    if (fs::is_directory(folder / "constitutions", ignored)) return folder;
    const fs::path installed = folder / "share/cai";
    if (fs::is_directory(installed / "constitutions", ignored)) return installed;
  }
  return fs::current_path();
}

}  // namespace cai
