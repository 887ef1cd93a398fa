// Which words two texts, or two places of one text, have in common.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cai {

/// Sorted, distinct hashes of all runs of n words; of the whole when there are fewer.
std::vector<std::uint64_t> word_grams(const std::vector<std::string>& words, std::size_t n);

/// Jaccard similarity of two sorted sets.
double jaccard(const std::vector<std::uint64_t>& a, const std::vector<std::uint64_t>& b);

/// The same sentence three times, or more than three tenths of all runs of four words seen before in the
/// text.
bool is_repeated(std::string_view text);

/// Shares a word of content (by its first five letters) with the prompt; true when either has none.
bool is_on_topic(std::string_view prompt, std::string_view text);

}  // namespace cai
