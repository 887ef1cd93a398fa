#include "cai/data/cases.hpp"

#include <set>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/data/prompt.hpp"
#include "cai/io/file.hpp"

namespace cai {

long add_failures(const std::filesystem::path& file, const std::vector<Json>& failures,
                  const Constitution& constitution) {
  if (file.extension() != ".jsonl") throw InputError(file.string() + ": cases are kept in a .jsonl file");
  std::set<std::string> known;
  std::string lines;
  if (std::filesystem::exists(file)) {
    for (const Prompt& p : read_prompts(file))
      known.insert(trim(p.text));
    lines = read_file(file);
    if (!lines.empty() && !lines.ends_with('\n')) lines += '\n';
  }
  long added = 0;
  for (const Json& failure : failures) {
    const std::string prompt = failure.at("prompt").get<std::string>();
    if (failure.contains("must") || failure.contains("suite") || !known.insert(trim(prompt)).second) continue;
    Json one = {{"id", "case-" + sha256(prompt).substr(0, 12)},
                {"prompt", prompt},
                {"tags", failure.contains("tags") ? failure["tags"] : Json::array()},
                {"split", "held-out"}};
    if (failure.contains("reference")) one["reference"] = failure["reference"];
    one["failure"] = failure.at("failure");
    one["constitution"] = constitution.name + " " + constitution.version;
    lines += to_line(one) + "\n";
    ++added;
  }
  if (added > 0) write_file(file, lines);
  return added;
}

}  // namespace cai
