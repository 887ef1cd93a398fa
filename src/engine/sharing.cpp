#include "cai/engine/sharing.hpp"

#include <algorithm>
#include <numeric>
#include <set>

namespace cai {
namespace {

// Rows that take as long as a pass of few rows, which reads all weights: what a prefix of its own has to save
// beyond its tokens.
constexpr std::size_t kPass = 96;

// Prompts in lexical order, where those that share a prefix stand together.
struct Sharing {
  std::vector<std::size_t> order;  // of the prompts
  std::vector<std::size_t> alike;  // tokens that order[i] and order[i + 1] begin with alike
  std::vector<int> lengths;        // the result
  std::vector<int> prefixes;       // which prefix each takes
  int made = 0;

  // Of order[begin, end): whether what all of them begin with is worth computing once, then the same of those
  // that share more. `given`: tokens that they share already.
  void share(std::size_t begin, std::size_t end, std::size_t given) {
    if (end - begin < 2) return;
    const std::size_t all = *std::min_element(alike.begin() + static_cast<std::ptrdiff_t>(begin),
                                              alike.begin() + static_cast<std::ptrdiff_t>(end) - 1);
    if ((end - begin) * (all - given) > all + kPass) {
      ++made;
      for (std::size_t i = begin; i < end; ++i)
        lengths[order[i]] = static_cast<int>(all), prefixes[order[i]] = made;
      given = all;
    }
    for (std::size_t first = begin, i = begin; i < end; ++i)
      if (i + 1 == end || alike[i] == all) share(first, i + 1, given), first = i + 1;
  }
};

}  // namespace

std::vector<int> shared_lengths(std::span<const std::span<const int>> prompts) {
  const std::size_t n = prompts.size();
  Sharing s{std::vector<std::size_t>(n), {}, std::vector<int>(n), std::vector<int>(n)};
  std::iota(s.order.begin(), s.order.end(), std::size_t{0});
  std::sort(s.order.begin(), s.order.end(), [&](std::size_t a, std::size_t b) {
    return std::ranges::lexicographical_compare(prompts[a], prompts[b]);
  });
  for (std::size_t i = 0; i + 1 < n; ++i) {
    const std::span<const int> a = prompts[s.order[i]], b = prompts[s.order[i + 1]];
    const std::size_t most = std::min(a.size(), b.size());
    s.alike.push_back(
        most == 0 ? 0
                  : static_cast<std::size_t>(std::ranges::mismatch(a.first(most - 1), b).in1 - a.begin()));
  }
  s.share(0, n, 0);
  if (std::set<int>(s.prefixes.begin(), s.prefixes.end()).size() <= kKeptPrefixes) return s.lengths;
  // More than are kept would be computed again and again: only what all share, then.
  return std::vector<int>(n, static_cast<int>(*std::ranges::min_element(s.alike)));
}

}  // namespace cai
