#include "cai/model/half_products.hpp"

#include <ATen/ATen.h>
#include <omp.h>

#include <algorithm>

#include "cai/model/tensors.hpp"

namespace cai {
namespace {

constexpr std::int64_t kRowStep = 64;

}  // namespace

at::Tensor half_rows(std::int64_t n, std::int64_t width) {
  const std::int64_t all = (n + kRowStep - 1) / kRowStep * kRowStep;
  const at::Tensor t = at::empty({all, width}, at::kBFloat16);
  std::fill_n(halves(t) + n * width, (all - n) * width, Half{0});
  return t;
}

at::Tensor rounded_rows(const at::Tensor& x) {
  if (!has_own_code(x)) return x.to(at::kBFloat16);
  const std::int64_t width = x.size(1);
  const at::Tensor t = half_rows(x.size(0), width);
  by_row(x.size(0), [&](std::int64_t r) { to_halves(floats(x) + r * width, width, halves(t) + r * width); });
  return t;
}

at::Tensor float_rows(const at::Tensor& x, std::int64_t n) {
  if (!has_own_code(x)) return x.narrow(0, 0, n).to(at::kFloat);
  const std::int64_t width = x.size(1);
  const at::Tensor t = at::empty({n, width}, at::kFloat);
  by_row(n, [&](std::int64_t r) { to_floats(halves(x) + r * width, width, floats(t) + r * width); });
  return t;
}

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  if (a.is_cuda()) return at::mm(a, b, at::kFloat);
  if (!has_own_code(a)) return at::mm(a.to(at::kFloat), b.to(at::kFloat));
  const std::int64_t n = a.size(0), threads = omp_get_max_threads(), run = (n / threads + 31) / 32 * 32;
  if (threads > 4 || run == 0) return at::mm(a, b);
  const at::Tensor all = at::empty({n, b.size(1)}, a.options());
#pragma omp parallel for schedule(static, 1)
  for (std::int64_t from = 0; from < n; from += run) {
    const std::int64_t rows = std::min(run, n - from);
    at::Tensor part = all.narrow(0, from, rows);
    at::mm_out(part, a.narrow(0, from, rows), b);
  }
  return all;
}

void add_halves_to(const at::Tensor& to, const at::Tensor& part) {
  if (!has_own_code(to)) {
    at::Tensor(to).add_(part.narrow(0, 0, to.size(0)));
    return;
  }
  constexpr std::int64_t kRun = 1 << 14;
  const std::int64_t n = to.numel();
  by_row((n + kRun - 1) / kRun, [&](std::int64_t r) {
    add_halves(halves(part) + r * kRun, std::min(kRun, n - r * kRun), floats(to) + r * kRun);
  });
}

}  // namespace cai
