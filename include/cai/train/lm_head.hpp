// The LM head as training uses it, and what is made of a block of its logits.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <memory>

namespace cai {

/// The LM head, ready for many products. In bfloat16 it holds rounded copies of the weight: refresh() it when
/// the weight has changed. Logits have float32 sums in either case.
class LmHead {
 public:
  /// weight: [vocabulary, width] float32. cap > 0: a logit x becomes cap tanh(x / cap).
  LmHead(const at::Tensor& weight, bool bfloat16 = false, double cap = 0);

  /// Rounds the weight anew.
  void refresh();

  /// Of the tokens [first, first + count), all by default; `first` is a multiple of 32. [n, width] -> [n,
  /// count].
  at::Tensor logits(const at::Tensor& hidden, std::int64_t first = 0, std::int64_t count = -1) const;

  /// slopes [n, count] of those tokens' logits, float32 or (of a head in bfloat16) bfloat16, times their
  /// weights: [n, width] float32.
  at::Tensor to_hidden(const at::Tensor& slopes, std::int64_t first = 0) const;

  /// What a slope towards a capped logit is multiplied with on its way to the logit: [n, count]. Where there
  /// is a cap only.
  at::Tensor slopes_of_cap(const at::Tensor& capped) const;

  /// Adds to those weights' gradient, where they learn: slopes [n, count] transposed times hidden [n, width],
  /// each float32 or (of a head in bfloat16) bfloat16.
  void learn(const at::Tensor& slopes, const at::Tensor& hidden, std::int64_t first) const;

  /// The weights of `tokens` [n] as to_hidden takes them, of a head that is frozen: [n, width] float32.
  at::Tensor rows(const at::Tensor& tokens) const;

  const at::Tensor& weight() const;
  bool is_bfloat16() const;
  double cap() const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

constexpr std::int64_t kLogitRows = 128;     // at a time: 25 MB of logits at a vocabulary of 49,152
constexpr std::int64_t kLogitTokens = 4096;  // at a time, of all rows: as much, for 1,536 of them

/// log(sum(exp(row))) of each row of `logits` [n, width]: [n].
at::Tensor log_sums(const at::Tensor& logits);

/// Logits become probabilities: exp(row - its total), in place.
at::Tensor& exponentiate(at::Tensor& logits, const at::Tensor& totals);

/// The same log-probabilities that log_softmax has at `targets` [n]: [n].
at::Tensor chosen_of(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& totals);

/// What autograd keeps of a head from forward to backward.
c10::IValue kept(const LmHead& head);
const LmHead& head_in(const c10::IValue& value);

}  // namespace cai
