#include "cai/train/lm_head.hpp"

#include <ATen/ATen.h>
#include <torch/custom_class.h>

#include "cai/engine/kernels.hpp"
#include "cai/engine/products.hpp"
#include "cai/model/half_products.hpp"
#include "cai/model/tensors.hpp"

namespace cai {

struct LmHead::State {
  at::Tensor weight;
  bool is_bfloat16;
  double cap;
  PackedMatrix packed;  // in bfloat16
  at::Tensor
      rounded;  // the same, of a frozen head; of one that learns each block is rounded when it is asked for
};

namespace {

at::Tensor in_halves(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? x : rounded_rows(x);
}

}  // namespace

LmHead::LmHead(const at::Tensor& weight, bool bfloat16, double cap) {
  auto state = std::make_shared<State>(State{weight, bfloat16, cap, {}, {}});
  if (bfloat16 && !has_own_code(weight)) {
    state->rounded = weight.detach().to(at::kBFloat16);
  } else if (bfloat16) {
    const at::Tensor plain = weight.detach().contiguous();
    const float* data = plain.data_ptr<float>();
    const std::int64_t out = weight.size(0);
    state->packed =
        PackedMatrix(std::span(&data, 1), std::span(&out, 1), weight.size(1), Precision::kBfloat16);
    if (!weight.requires_grad()) state->rounded = plain.to(at::kBFloat16);
  }
  state_ = state;
}

void LmHead::refresh() {
  const at::Tensor weight = state_->weight;
  const bool bfloat16 = is_bfloat16();
  const double soft_cap = cap();
  state_.reset();  // first, so that the new copies take the place of the old ones
  *this = LmHead(weight, bfloat16, soft_cap);
}

const at::Tensor& LmHead::weight() const {
  return state_->weight;
}
bool LmHead::is_bfloat16() const {
  return state_->is_bfloat16;
}
double LmHead::cap() const {
  return state_->cap;
}

at::Tensor LmHead::logits(const at::Tensor& hidden, std::int64_t first, std::int64_t count) const {
  if (count < 0) count = state_->weight.size(0) - first;
  const auto capped = [&](at::Tensor y) { return cap() > 0 ? y.div_(cap()).tanh_().mul_(cap()) : y; };
  if (!is_bfloat16()) return capped(at::mm(hidden, state_->weight.narrow(0, first, count).t()));
  if (!has_own_code(hidden))
    return capped(product(in_halves(hidden), state_->rounded.narrow(0, first, count).t()));
  const at::Tensor x = hidden.contiguous();
  at::Tensor y = at::empty({x.size(0), count}, x.options());
  state_->packed.multiply(x.data_ptr<float>(), x.size(0), first, count, y.data_ptr<float>());
  return capped(y);
}

at::Tensor LmHead::slopes_of_cap(const at::Tensor& capped) const {
  return 1 - (capped / cap()).square_();
}

at::Tensor LmHead::to_hidden(const at::Tensor& slopes, std::int64_t first) const {
  const at::Tensor rows = (state_->rounded.defined() ? state_->rounded : state_->weight.detach())
                              .narrow(0, first, slopes.size(1));
  return is_bfloat16() ? float_rows(product(in_halves(slopes), in_halves(rows).narrow(0, 0, rows.size(0))),
                                    slopes.size(0))
                       : at::mm(slopes, rows);
}

void LmHead::learn(const at::Tensor& slopes, const at::Tensor& hidden, std::int64_t first) const {
  at::Tensor weight = state_->weight;
  if (!weight.requires_grad()) return;
  at::Tensor& gradient = weight.mutable_grad();
  if (!gradient.defined()) gradient = at::zeros_like(weight);
  at::Tensor rows = gradient.narrow(0, first, slopes.size(1));
  if (is_bfloat16())
    add_halves_to(rows, product(in_halves(slopes).t(), in_halves(hidden)));
  else
    rows.addmm_(slopes.t(), hidden);
}

at::Tensor LmHead::rows(const at::Tensor& tokens) const {
  return (state_->rounded.defined() ? state_->rounded : state_->weight.detach())
      .index_select(0, tokens)
      .to(at::kFloat);
}

at::Tensor log_sums(const at::Tensor& logits) {
  at::Tensor totals = at::empty({logits.size(0)}, logits.options());
  if (!has_own_code(logits)) return at::logsumexp(logits, 1);
  const auto width = logits.size(1);
  const float* const from = logits.data_ptr<float>();
  float* const to = totals.data_ptr<float>();
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < logits.size(0); ++r)
    to[r] = static_cast<float>(log_sum_exp(from + r * width, width));
  return totals;
}

at::Tensor& exponentiate(at::Tensor& logits, const at::Tensor& totals) {
  if (!has_own_code(logits)) return logits.sub_(totals.unsqueeze(1)).exp_();
  const auto width = logits.size(1);
  const float* const total = totals.data_ptr<float>();
  float* const rows = logits.data_ptr<float>();
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < logits.size(0); ++r)
    exp_shifted(rows + r * width, width, total[r], 1, rows + r * width);
  return logits;
}

at::Tensor chosen_of(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& totals) {
  return logits.gather(1, targets.unsqueeze(1)).squeeze(1).sub_(totals);
}

namespace {

struct KeptHead : torch::CustomClassHolder {
  explicit KeptHead(const LmHead& h) : head(h) {}
  LmHead head;
};

}  // namespace

c10::IValue kept(const LmHead& head) {
  return c10::IValue::make_capsule(c10::make_intrusive<KeptHead>(head));
}
const LmHead& head_in(const c10::IValue& value) {
  return c10::static_intrusive_pointer_cast<KeptHead>(value.toCapsule())->head;
}

}  // namespace cai
