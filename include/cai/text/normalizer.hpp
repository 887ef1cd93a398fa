// What a tokenizer.json's "normalizer" does to a text before it is cut.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cai/io/json.hpp"

namespace cai {

class Normalizer {
 public:
  /// Does nothing.
  Normalizer() = default;

  /// Accepts null and the types NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip and Sequence. Throws
  /// InputError that names any other.
  static Normalizer from_json(const SortedJson& json, const std::string& file);

  bool empty() const { return steps_.empty(); }

  /// `text` must be valid UTF-8.
  std::string operator()(std::string_view text) const;

 private:
  std::vector<std::function<std::string(std::string_view)>> steps_;

  void add(const SortedJson& json, const std::string& file);
};

}  // namespace cai
