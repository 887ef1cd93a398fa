// A run folder of one iteration for tests of what is made from it.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "cai/io/records.hpp"

namespace cai {

namespace fs = std::filesystem;

struct RunFolder {
  fs::path path = fs::temp_directory_path() / ("cai-report-" + std::to_string(getpid()));
  RunFolder() { fs::create_directories(path / "iter-01"); }
  ~RunFolder() { fs::remove_all(path); }
  void stage(const std::string& name, const Json& figures, const std::vector<Json>& records = {}) const {
    RecordWriter writer(path / "iter-01" / name, name, "key");
    for (std::size_t i = 0; i < records.size(); ++i)
      writer.write(i, records[i]);
    writer.finish(figures, 1);
  }
};

}  // namespace cai
