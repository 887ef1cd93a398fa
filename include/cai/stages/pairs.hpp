// Pairs of answers to compare, made of candidate records or of pairs that came from outside.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cai/base/random.hpp"
#include "cai/io/json.hpp"

namespace cai {

struct Pair {
  Json record;  // the input's fields, without its answers
  std::string a, b;
  bool is_swapped = false;      // a is the input's second answer
  std::optional<double> human;  // P(a better) by a person
  // By contrast: which side was asked for, under which principle.
  std::string principle, wanted;  // "a" or "b"
  std::string finish_a = "stop", finish_b = "stop";
  bool opened_a = false, opened_b = false;  // begun with an opening that declines
};

/// Whether the request should be declined: `decline` of the record, else its kind.
bool should_decline(const Json& record);

/// Whether each answer declines.
bool declines_a(const Pair& pair);
bool declines_b(const Pair& pair);

/// Pairs of one record, in an order drawn by seed so that the better side has no place of its own.
/// By contrast: each two sides that were asked for under a principle and its opposite; and the policy's plain
/// answers, right against wrong: with each other, else with a side of a contrast that is not like them. Those
/// are what the policy will say while it learns from the reward; a model that has never compared any judges
/// them no better than chance (docs/dev/measurements/effect.md).
std::vector<Pair> pairs_of(const Json& record, std::size_t index, bool contrast, Random random);

}  // namespace cai
