// Which pairs belong together.
#pragma once

#include <algorithm>
#include <string>

#include "cai/train/train.hpp"

namespace cai {

/// What pairs of the same prompt share: its tokens as bytes, or the id of a pair that does not say where its
/// prompt ends.
inline std::string prompt_of(const PreferencePair& pair) {
  const std::size_t n = std::min(static_cast<std::size_t>(std::max(0, pair.prompt_tokens)), pair.a.size());
  return n == 0 ? pair.id : std::string(reinterpret_cast<const char*>(pair.a.data()), n * sizeof pair.a[0]);
}

}  // namespace cai
