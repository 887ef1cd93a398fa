#include "cai/engine/sharing.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace cai {
namespace {

using Prompts = std::vector<std::vector<int>>;

std::vector<int> lengths_of(const Prompts& prompts) {
  return shared_lengths(std::vector<std::span<const int>>(prompts.begin(), prompts.end()));
}

// `count` prompts of `head` and one token of their own.
void add(Prompts& to, std::vector<int> head, int count) {
  for (int i = 0; i < count; ++i)
    to.push_back(head), to.back().push_back(1000 + static_cast<int>(to.size()));
}

std::vector<int> head(int begin, int n) {
  std::vector<int> tokens;
  for (int i = 0; i < n; ++i)
    tokens.push_back(begin + i);
  return tokens;
}

TEST(Sharing, WhatSavesLessThanAPassIsNotShared) {
  EXPECT_TRUE(lengths_of({}).empty());
  EXPECT_EQ(lengths_of({{}, {}, {7}}), std::vector<int>(3));
  Prompts few, enough;
  add(few, head(0, 20), 5), add(enough, head(0, 20), 6);
  EXPECT_EQ(lengths_of(few), std::vector<int>(5));
  EXPECT_EQ(lengths_of(enough), std::vector<int>(6, 20));
  EXPECT_EQ(lengths_of(Prompts(6, head(0, 21))),
            std::vector<int>(6, 20));  // the last token's hidden state is wanted
}

TEST(Sharing, GroupsShareWhatIsTheirs) {
  const auto begun = [](int with) {
    std::vector<int> tokens = head(0, 20);
    for (int token : head(with, 50))
      tokens.push_back(token);
    return tokens;
  };
  Prompts prompts;
  add(prompts, begun(100), 8), add(prompts, begun(200), 2), add(prompts, begun(300), 8);
  std::vector<int> expected(18, 70);
  expected[8] = expected[9] = 20;  // a pass for two would save less than it takes
  EXPECT_EQ(lengths_of(prompts), expected);
  // More groups than are kept at a time: what all share.
  for (int g = 4; g < 4 + static_cast<int>(kKeptPrefixes); ++g)
    add(prompts, begun(100 * g), 8);
  EXPECT_EQ(lengths_of(prompts), std::vector<int>(prompts.size(), 20));
}

RC_GTEST_PROP(Sharing, IsTrueSavesTokensAndDoesNotDependOnTheOrder, ()) {
  const auto prompts = *rc::gen::container<Prompts>(rc::gen::map(
      rc::gen::pair(rc::gen::inRange(0, 300), rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 3))),
      [](const auto& p) {
        std::vector<int> tokens(static_cast<std::size_t>(p.first), 1);
        tokens.insert(tokens.end(), p.second.begin(), p.second.end());
        return tokens;
      }));
  const std::vector<int> lengths = lengths_of(prompts);
  std::map<std::vector<int>, std::size_t> takers;
  std::size_t taken = 0, computed = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    RC_ASSERT(lengths[i] >= 0 && (lengths[i] == 0 || lengths[i] < static_cast<int>(prompts[i].size())));
    if (lengths[i] > 0)
      ++takers[{prompts[i].begin(), prompts[i].begin() + lengths[i]}],
          taken += static_cast<std::size_t>(lengths[i]);
  }
  for (const auto& [prefix, n] : takers)
    computed += prefix.size();
  RC_ASSERT(takers.size() <= kKeptPrefixes);
  RC_ASSERT(takers.empty() || taken > computed);
  const Prompts reversed(prompts.rbegin(), prompts.rend());
  std::vector<int> again = lengths_of(reversed);
  std::reverse(again.begin(), again.end());
  RC_ASSERT(again == lengths);
}

}  // namespace
}  // namespace cai
