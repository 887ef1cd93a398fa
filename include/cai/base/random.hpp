// Random streams as values. A stream is named by the path that derived it, never by who drew before:
//   Random(seed).derive("generate").derive(record_id).derive(sample)
// so a record's draws do not depend on its neighbours, on batching or on interruption.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace cai {

class Random {
 public:
  explicit Random(std::uint64_t seed = 0) : key_(seed) {}

  /// A new independent stream at its start; this one is not advanced.
  Random derive(std::string_view name) const;
  Random derive(std::uint64_t index) const;

  std::uint64_t next();                      ///< 64 uniform bits
  double uniform();                          ///< [0, 1), 53 bits
  double normal();                           ///< N(0, 1); two draws of uniform() each call, no hidden state
  std::uint64_t below(std::uint64_t bound);  ///< [0, bound) without bias; bound > 0
  std::vector<std::size_t> permutation(std::size_t n);  ///< Fisher-Yates

  /// The whole state, for checkpoints.
  std::uint64_t key() const { return key_; }
  std::uint64_t counter() const { return counter_; }
  void restore(std::uint64_t key, std::uint64_t counter) { key_ = key, counter_ = counter; }

 private:
  std::uint64_t key_;
  std::uint64_t counter_ = 0;  // output is mix(key, counter): counter-based, so state is two numbers
};

}  // namespace cai
