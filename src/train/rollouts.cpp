#include "cai/train/rollouts.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "cai/base/random.hpp"
#include "cai/model/layer_tensors.hpp"
#include "cai/model/tensors.hpp"
#include "cai/train/trainer.hpp"

namespace cai {

std::int64_t shared_layers(const Llama& a, const Llama& b) {
  if (!a.embedding.is_same(b.embedding) &&
      (a.embedding.sizes() != b.embedding.sizes() || !at::equal(a.embedding, b.embedding)))
    return 0;
  std::int64_t n = 0;
  while (n < std::min(a.config.layers, b.config.layers) &&
         is_same(a.layers[static_cast<std::size_t>(n)], b.layers[static_cast<std::size_t>(n)]))
    ++n;
  return n;
}

std::vector<std::size_t> Rollouts::all() const {
  std::vector<std::size_t> numbers(sequences.size());
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

std::vector<int> scored_sequence(const std::vector<int>& sequence, int prompt_tokens, bool is_finished,
                                 const AnswerText& text) {
  std::vector<int> scored = sequence;
  if (is_finished) {
    scored.pop_back();  // its stop token
  } else if (text.whole) {
    const std::size_t prompt = static_cast<std::size_t>(prompt_tokens),
                      whole = text.whole(std::span(sequence).subspan(prompt));
    if (whole > 0) scored.resize(prompt + whole);
  }
  if (!text.stops.empty()) scored.push_back(text.stops.front());
  return scored;
}

std::size_t PromptOrder::at(std::size_t k) {
  if (order_.empty() || k / n_ != round_) {
    round_ = k / n_;
    order_ = Random(seed_).derive("order").derive(round_).permutation(n_);
  }
  return order_[k % n_];
}

Part part_of(const Rollouts& r, const std::vector<std::size_t>& which) {
  Part p;
  std::vector<std::vector<int>> sequences;
  std::vector<at::Tensor> hidden;
  std::vector<std::int64_t> rows, targets;
  for (std::size_t i : which)
    sequences.push_back(r.sequences[i]), hidden.push_back(r.trunk[i]);
  p.packed = pack(sequences, hidden.front().device());
  p.hidden = packed_states(p.packed, hidden);
  for (std::size_t k = 0; k < which.size(); ++k) {
    const std::vector<std::int64_t> own = rows_of(p.packed, k);
    for (std::size_t t = static_cast<std::size_t>(r.prompt_tokens[which[k]]); t < sequences[k].size(); ++t)
      rows.push_back(own[t - 1]), targets.push_back(sequences[k][t]);
  }
  p.rows = on(p.hidden.device(), rows), p.targets = on(p.hidden.device(), targets);
  return p;
}

std::vector<std::vector<std::size_t>> parts_of(const Rollouts& r, const std::vector<std::size_t>& order,
                                               std::int64_t shared, std::int64_t layers,
                                               const at::Device& device) {
  std::vector<std::int64_t> lengths;
  for (std::size_t i : order)
    lengths.push_back(static_cast<std::int64_t>(r.sequences[i].size()));
  const std::int64_t tokens = micro_batch_tokens(device);
  std::vector<std::vector<std::size_t>> parts;
  for (const auto& [from, to] : micro_batches(lengths, 2 * shared >= layers ? 2 * tokens : tokens))
    parts.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(from),
                       order.begin() + static_cast<std::ptrdiff_t>(to));
  return parts;
}

at::Tensor answer_states(const Llama& model, const Part& p, std::int64_t shared) {
  return head_states(
      model, run_layers(model, p.hidden, p.packed, shared, model.config.layers).index_select(0, p.rows));
}

at::Tensor token_values(const RewardModel& model, const Part& p, std::int64_t shared) {
  const at::Tensor hidden = run_layers(model.trunk, p.hidden, p.packed, shared, model.trunk.config.layers);
  const at::Tensor raw =
      at::linear(final_norm(model.trunk, hidden.index_select(0, p.rows)), model.score).squeeze(-1);
  return (raw - model.mean) / model.std;
}

double distinct_pairs(const Rollouts& r) {
  std::set<std::pair<int, int>> kinds;
  double pairs = 0;
  for (std::size_t i = 0; i < r.sequences.size(); ++i)
    for (std::size_t t = static_cast<std::size_t>(r.prompt_tokens[i]); t + 1 < r.sequences[i].size(); ++t)
      kinds.insert({r.sequences[i][t], r.sequences[i][t + 1]}), pairs += 1;
  return pairs > 0 ? static_cast<double>(kinds.size()) / pairs : 0;
}

double common_opening(const Rollouts& r) {
  std::map<std::vector<int>, int> count;
  int most = 0;
  for (std::size_t i = 0; i < r.sequences.size(); ++i) {
    const auto begin = r.sequences[i].begin() + r.prompt_tokens[i];
    most =
        std::max(most, ++count[{begin, begin + std::min<std::ptrdiff_t>(4, r.sequences[i].end() - begin)}]);
  }
  return static_cast<double>(most) / static_cast<double>(std::max<std::size_t>(1, r.sequences.size()));
}

}  // namespace cai
