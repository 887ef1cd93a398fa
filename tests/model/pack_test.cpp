// Sequences that share what they begin with: the same logits and gradients as one by one.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

ModelConfig tiny() {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.layers = 2, c.width = 32, c.heads = 4, c.kv_heads = 2, c.head_width = 8, c.ffn_width = 48,
  c.vocabulary = 30, c.context = 128, c.tied_head = true;
  return c;
}

std::vector<int> tokens(int n, int from) {
  std::vector<int> all;
  for (int i = 0; i < n; ++i)
    all.push_back((from + 7 * i) % 30);
  return all;
}

std::vector<int> operator+(std::vector<int> a, const std::vector<int>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(Pack, WhatNeighboursBeginWithIsThereOnce) {
  const std::vector<int> system = tokens(20, 0), one = tokens(10, 3), two = tokens(12, 5);
  const std::vector<std::vector<int>> sequences = {system + one + tokens(5, 1), system + one + tokens(6, 2),
                                                   system + two + tokens(5, 4), system + two + tokens(3, 8),
                                                   system + two + tokens(3, 8)};
  const Packed p = pack(sequences);
  EXPECT_EQ(p.tokens.numel(),
            20 + 10 + 5 + 6 + 12 + 5 + 3 + 3);  // the last two would share two tokens more: too few
  for (std::size_t i = 0; i < sequences.size(); ++i)
    EXPECT_EQ(rows_of(p, i).size(), sequences[i].size());
  EXPECT_EQ(pack({{1, 2, 3}, {1, 2, 3}}).tokens.numel(), 6);  // too little to share
  EXPECT_EQ(pack({}).tokens.numel(), 0);
  EXPECT_THROW(pack({{1}, {}}), Bug);
}

RC_GTEST_PROP(Pack, KeepsEveryTokenAtItsPlace, ()) {
  // Sequences that branch off each other at random places.
  const int n = *rc::gen::inRange(1, 8);
  std::vector<std::vector<int>> sequences;
  for (int i = 0; i < n; ++i) {
    std::vector<int> s;
    if (i > 0) {
      const auto& earlier = sequences[static_cast<std::size_t>(*rc::gen::inRange(0, i))];
      s.assign(earlier.begin(), earlier.begin() + *rc::gen::inRange(0, static_cast<int>(earlier.size()) + 1));
    }
    s = s + *rc::gen::container<std::vector<int>>(
                static_cast<std::size_t>(*rc::gen::inRange(s.empty() ? 1 : 0, 25)), rc::gen::inRange(0, 4));
    sequences.push_back(s);
  }
  const Packed p = pack(sequences);
  std::vector<int> used(static_cast<std::size_t>(p.tokens.numel()));
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const std::vector<std::int64_t> rows = rows_of(p, i);
    RC_ASSERT(rows.size() == sequences[i].size());
    for (std::size_t t = 0; t < rows.size(); ++t) {
      RC_ASSERT(p.tokens[rows[t]].item<int>() == sequences[i][t]);
      RC_ASSERT(p.positions[rows[t]].item<std::int64_t>() == static_cast<std::int64_t>(t));
      ++used[static_cast<std::size_t>(rows[t])];
    }
  }
  RC_ASSERT(std::none_of(used.begin(), used.end(), [](int n) { return n == 0; }));
  RC_ASSERT(p.ends.size() == sequences.size());
}

TEST(Pack, LogitsAndGradientsAreThoseOfSequencesOneByOne) {
  const std::vector<int> system = tokens(20, 0), one = tokens(10, 3), two = tokens(12, 5);
  const std::vector<std::vector<int>> sequences = {system + one + tokens(5, 1), system + one + tokens(6, 2),
                                                   system + two + tokens(5, 4), tokens(9, 11),
                                                   system + two + tokens(3, 8)};
  for (const std::int64_t window : {0, 12}) {
    ModelConfig config = tiny();
    config.sliding_window = window;
    std::vector<std::vector<at::Tensor>> gradients;
    std::vector<std::vector<at::Tensor>> values;
    for (const bool together : {true, false}) {
      Llama m = random_llama(config, 3);
      for (auto& [name, t] : m.named_weights())
        t.mul_(name.find("norm") == std::string::npos ? 8 : 1).requires_grad_(true);
      values.emplace_back();
      at::Tensor sum = at::zeros({});
      const Packed all = pack(sequences);
      const at::Tensor of_all = together ? logits(m, all) : at::Tensor();
      for (std::size_t i = 0; i < sequences.size(); ++i) {
        values.back().push_back(together ? of_all.index_select(0, at::tensor(rows_of(all, i), at::kLong))
                                         : logits(m, pack({sequences[i]})));
        sum = sum + values.back().back().log_softmax(-1).select(1, static_cast<std::int64_t>(i)).sum();
      }
      sum.backward();
      gradients.emplace_back();
      for (auto& [name, t] : m.named_weights())
        gradients.back().push_back(t.grad());
    }
    for (std::size_t i = 0; i < sequences.size(); ++i)
      EXPECT_TRUE(at::allclose(values[0][i], values[1][i], 1e-4, 1e-5)) << i;
    for (std::size_t i = 0; i < gradients[0].size(); ++i)
      EXPECT_LT(((gradients[0][i] - gradients[1][i]).norm() / gradients[1][i].norm()).item<double>(), 1e-4)
          << i;
  }
}

TEST(Pack, StatesOfWholeSequencesBecomeThoseOfItsRows) {
  const std::vector<std::vector<int>> sequences = {tokens(20, 0) + tokens(4, 1), tokens(20, 0) + tokens(6, 2),
                                                   tokens(5, 3)};
  const Packed p = pack(sequences);
  std::vector<at::Tensor> states;
  for (const auto& s : sequences)
    states.push_back(at::tensor(std::vector<float>(s.begin(), s.end())).unsqueeze(1));
  EXPECT_TRUE(at::equal(packed_states(p, states).squeeze(1).to(at::kLong), p.tokens));
}

}  // namespace
}  // namespace cai
