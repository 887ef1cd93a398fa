// Which prompts of one call begin alike, so that what they share is computed once.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace cai {

/// Prefixes that are kept for the requests to come, at most.
constexpr std::size_t kKeptPrefixes = 8;

/// How many leading tokens each prompt should take from a prefix that others take too; 0: none. Prompts with
/// equal lengths here and equal tokens that far have one prefix. A prompt's last token is never shared: its
/// hidden state is wanted. There are at most kKeptPrefixes prefixes.
std::vector<int> shared_lengths(std::span<const std::span<const int>> prompts);

}  // namespace cai
