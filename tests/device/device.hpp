// Where the tests of the device compute: CAI_TEST_DEVICE=cuda, else on the CPU by ATen's steps.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "cai/engine/devices.hpp"
#include "cai/model/llama.hpp"
#include "cai/model/tensors.hpp"

namespace cai {

inline bool tests_cuda() {
  const char* const asked = std::getenv("CAI_TEST_DEVICE");
  return asked != nullptr && std::string(asked) == "cuda";
}

inline Place test_place(bool bfloat16) {
  Place place = tests_cuda() ? place_of({.device = "cuda"}) : Place{};
  place.bfloat16 = bfloat16;
  return place;
}

/// While one lives, what is moved to test_place() is computed with as on a device; on CUDA that holds anyway.
class OnDevice {
 public:
  OnDevice() : plain_(tests_cuda() ? nullptr : std::make_unique<PlainArithmetic>()) {}

 private:
  std::unique_ptr<PlainArithmetic> plain_;
};

inline double distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.detach().cpu().to(at::kDouble), y = b.detach().cpu().to(at::kDouble);
  return ((x - y).norm() / (y.norm() + 1e-30)).item<double>();
}

}  // namespace cai
