#include "cai/base/random.hpp"

#include <cmath>
#include <numbers>
#include <numeric>

namespace cai {
namespace {

// SplitMix64's finaliser (Steele et al. 2014): every input bit reaches every output bit.
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

Random Random::derive(std::string_view name) const {
  std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a over the name, then mixed with the parent's key
  for (const char c : name)
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return Random(mix(mix(key_ + 0x9e3779b97f4a7c15u) ^ mix(hash + name.size())));
}

Random Random::derive(std::uint64_t index) const {
  return Random(mix(mix(key_ + 0x632be59bd9b4e019u) ^ mix(index * 0x9e3779b97f4a7c15u + 1)));
}

std::uint64_t Random::next() {
  return mix(mix(key_) + 0x9e3779b97f4a7c15u * ++counter_);
}

double Random::uniform() {
  return static_cast<double>(next() >> 11) * 0x1.0p-53;
}

double Random::normal() {
  const double u = 1.0 - uniform(), v = uniform();
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

std::uint64_t Random::below(std::uint64_t bound) {
  const std::uint64_t unfair = (0 - bound) % bound;  // 2^64 mod bound
  while (true) {
    const std::uint64_t x = next();
    if (x >= unfair) return x % bound;
  }
}

std::vector<std::size_t> Random::permutation(std::size_t n) {
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = n; i > 1; --i)
    std::swap(order[i - 1], order[below(i)]);
  return order;
}

}  // namespace cai
