#include "cai/base/error.hpp"

namespace cai {

InputError::InputError(const std::string& file, long line, const std::string& message)
    : Error(kBadInput, file + (line > 0 ? ":" + std::to_string(line) : "") + ": " + message) {}

void throw_problems(const std::vector<std::string>& problems) {
  constexpr std::size_t kShown = 100;
  std::string all;
  for (std::size_t i = 0; i < problems.size() && i < kShown; ++i)
    all += (all.empty() ? "" : "\n") + problems[i];
  if (problems.size() > kShown) all += "\n... and " + std::to_string(problems.size() - kShown) + " more";
  if (!problems.empty()) throw InputError(all);
}

}  // namespace cai
