// Products of training in bfloat16: ATen's, on rows that are made and filled up for its library. On a device
// the same functions leave rows as they are, and products come in float32, as they are summed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "cai/model/rows.hpp"

namespace cai {

inline Half* halves(const at::Tensor& t) {
  return reinterpret_cast<Half*>(t.data_ptr());
}
inline float* floats(const at::Tensor& t) {
  return t.data_ptr<float>();
}

/// Calls body(row) for the rows [0, n) on all threads.
template <class Body>
void by_row(std::int64_t n, const Body& body) {
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < n; ++r)
    body(r);
}

/// [n, width] bfloat16, filled up with rows of zeros to a multiple of 64: only these are set. The library
/// makes code for each number of rows that it has not seen, which took 7 % of the time, and packs come in all
/// sizes.
at::Tensor half_rows(std::int64_t n, std::int64_t width);

/// x [n, width] float32, contiguous: rounded, filled up.
at::Tensor rounded_rows(const at::Tensor& x);

/// The first n rows of x in float32.
at::Tensor float_rows(const at::Tensor& x, std::int64_t n);

/// a b of two in bfloat16: on the CPU in bfloat16, by as many runs of a's rows as there are threads: the
/// library gives half of a layer's products to one thread of two. With many threads each would copy b into
/// its own order, so then the library has its way.
at::Tensor product(const at::Tensor& a, const at::Tensor& b);

/// to += the first rows of `part`, a product, as many as `to` [n, width] float32 has; both contiguous.
void add_halves_to(const at::Tensor& to, const at::Tensor& part);

}  // namespace cai
