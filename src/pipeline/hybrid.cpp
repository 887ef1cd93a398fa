#include "cai/pipeline/hybrid.hpp"

#include "cai/base/log.hpp"
#include "cai/data/pair_import.hpp"
#include "cai/pipeline/home.hpp"

namespace cai {

People people_of(const HybridConfig& config) {
  std::vector<Json> all;
  for (const std::string& path : config.decisions)
    for (Json& decision : read_decisions(path)) all.push_back(std::move(decision));
  return People(all);
}

std::vector<Json> human_pairs_of(const std::vector<std::string>& files) {
  std::vector<Json> all;
  for (std::size_t file = 0; file < files.size(); ++file) {
    const std::string& path = files[file];
    ImportedPairs pairs = read_pairs(find_shipped(path));
    if (pairs.left_out > 0) log_warning(path + ": " + std::to_string(pairs.left_out) + " records hold no pair and are left out");
    for (Json& record : pairs.records) {  // ids of two files, or of a file and the labels, may be the same
      const Json id = record["id"];
      record["id"] = "human-" + std::to_string(file + 1) + "/" + (id.is_string() ? id.get<std::string>() : id.dump());
      all.push_back(std::move(record));
    }
  }
  return all;
}

}  // namespace cai
