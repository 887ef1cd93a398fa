#include "cai/stages/near_duplicates.hpp"

#include <map>

#include "cai/base/text.hpp"
#include "cai/stages/overlap.hpp"

namespace cai {

bool NearDuplicates::has_like(const std::string& text) const {
  const std::vector<std::uint64_t> grams = word_grams(words_of(text), 3);
  std::map<std::size_t, std::size_t> shared;
  for (const std::uint64_t gram : grams)
    if (const auto it = holders_.find(gram); it != holders_.end())
      for (const std::size_t number : it->second)
        ++shared[number];
  for (const auto& [number, n] : shared)
    if (static_cast<double>(n) / static_cast<double>(grams.size() + sizes_[number] - n) > threshold_)
      return true;
  return false;
}

void NearDuplicates::add(const std::string& text) {
  const std::vector<std::uint64_t> grams = word_grams(words_of(text), 3);
  for (const std::uint64_t gram : grams)
    holders_[gram].push_back(sizes_.size());
  sizes_.push_back(grams.size());
}

}  // namespace cai
