// Texts that are nearly the same, by their word 3-grams.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace cai {

/// Finds a text that is nearly the same as one of many without comparing with all: Jaccard similarity of the
/// sets of word 3-grams (of all words, where a text has fewer than three) above a threshold from 0 to 1.
class NearDuplicates {
 public:
  explicit NearDuplicates(double threshold) : threshold_(threshold) {}

  bool has_like(const std::string& text) const;
  void add(const std::string& text);

 private:
  double threshold_;
  std::unordered_map<std::uint64_t, std::vector<std::size_t>>
      holders_;                     // of a 3-gram: the texts that have it
  std::vector<std::size_t> sizes_;  // of each text: its 3-grams
};

}  // namespace cai
