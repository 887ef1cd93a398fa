// Products of training in bfloat16 against ATen's on the same rows.
#include "cai/model/half_products.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <omp.h>

namespace cai {
namespace {

TEST(HalfProducts, RowsAreFilledUpWithZeros) {
  at::manual_seed(1);
  for (const std::int64_t n : {1, 63, 64, 65, 200}) {
    const at::Tensor x = at::randn({n, 40}), rounded = rounded_rows(x);
    EXPECT_EQ(rounded.size(0) % 64, 0);
    EXPECT_LT(rounded.size(0) - n, 64);
    EXPECT_TRUE(at::equal(rounded.narrow(0, 0, n), x.to(at::kBFloat16)));
    EXPECT_EQ(rounded.narrow(0, n, rounded.size(0) - n).abs().sum().item<float>(), 0);
    EXPECT_TRUE(at::equal(float_rows(rounded, n), x.to(at::kBFloat16).to(at::kFloat)));
  }
}

TEST(HalfProducts, TheirRowsAreAsNearOnAnyNumberOfThreads) {
  at::manual_seed(2);
  const int threads = omp_get_max_threads();
  for (const std::int64_t n : {1, 31, 64, 130, 500}) {
    const at::Tensor a = at::randn({n, 96}).to(at::kBFloat16), b = at::randn({96, 72}).to(at::kBFloat16),
                     exact = at::mm(a.to(at::kDouble), b.to(at::kDouble));
    for (const int t : {1, 2, 3, 4, 5, 9}) {  // more than four: the library splits them itself
      omp_set_num_threads(t);
      const at::Tensor got = product(a, b), turned = product(b.t(), a.t());
      EXPECT_EQ(got.sizes(), exact.sizes());
      EXPECT_LT((got.to(at::kDouble) - exact).norm().item<double>() / exact.norm().item<double>(), 3e-3)
          << n << " rows, " << t << " threads";
      EXPECT_LT((turned.t().to(at::kDouble) - exact).norm().item<double>() / exact.norm().item<double>(),
                3e-3)
          << n << " columns, " << t << " threads";
    }
  }
  omp_set_num_threads(threads);
}

TEST(HalfProducts, AddToFloats) {
  at::manual_seed(3);
  for (const std::int64_t n : {1, 70, 3000}) {
    const at::Tensor to = at::randn({n, 17}), part = rounded_rows(at::randn({n, 17})),
                     expected = to + part.narrow(0, 0, n).to(at::kFloat);
    add_halves_to(to, part);
    EXPECT_TRUE(at::equal(to, expected)) << n;
  }
}

}  // namespace
}  // namespace cai
