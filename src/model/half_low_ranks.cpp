#include "cai/model/half_low_ranks.hpp"

#include <ATen/ATen.h>

#include <utility>

#include "cai/model/half_products.hpp"
#include "cai/model/linear.hpp"

namespace cai {

HalfLowRanks::HalfLowRanks(const LayerAdapter* adapter, const std::vector<LowRank LayerAdapter::*>& matrices,
                           const std::vector<std::int64_t>& rows, std::shared_ptr<RoundedWeights> rounded)
    : rounded_(std::move(rounded)) {
  if (!adapter) return;
  std::int64_t from = 0, width = 0;
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    const LowRank& low_rank = adapter->*matrices[i];
    if (low_rank.a.defined()) {
      const bool is_new = downs_.empty() || !downs_.back().is_same(low_rank.a);
      if (is_new) downs_.push_back(low_rank.a), width += low_rank.a.size(0);
      parts_.push_back({low_rank, from, rows[i], width - low_rank.a.size(0)});
    }
    from += rows[i];
  }
}

at::Tensor HalfLowRanks::thin(const at::Tensor& x) const {
  return product(x, rounded_->of(downs_).t());
}

void HalfLowRanks::add(const at::Tensor& products, const at::Tensor& x) const {
  if (parts_.empty()) return;
  const at::Tensor all = thin(x);
  for (const Part& part : parts_) {
    const auto& [a, b, scale] = part.low_rank;
    const at::Tensor own = all.narrow(1, part.thin, a.size(0)) * scale;
    products.narrow(1, part.from, part.rows).add_(product(own, rounded_->of({b}).t()));
  }
}

void HalfLowRanks::learn(const at::Tensor& slopes, const at::Tensor& x, const at::Tensor& to_x) const {
  if (parts_.empty()) return;
  const at::Tensor all = thin(x), to_thin = at::zeros_like(all);
  for (const Part& part : parts_) {
    const auto& [a, b, scale] = part.low_rank;
    const at::Tensor own_slopes = slopes.narrow(1, part.from, part.rows).contiguous();
    learn_products({b}, own_slopes, all.narrow(1, part.thin, a.size(0)) * scale);
    to_thin.narrow(1, part.thin, a.size(0)).add_(product(own_slopes, rounded_->of({b})) * scale);
  }
  learn_products(downs_, to_thin, x);
  at::Tensor(to_x).add_(product(to_thin, rounded_->of(downs_)));
}

}  // namespace cai
