// Tensors on any device. The CPU has code of its own for much of training (rows.hpp, attention.hpp,
// layer.hpp), which reads them by pointers; ATen computes with all others.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "cai/model/place.hpp"

namespace cai {

struct Llama;
struct LlamaLayer;

at::Device device_of(const Place& place);

/// Whether the CPU's own code computes with `t`.
bool has_own_code(const at::Tensor& t);

/// Whether a PlainArithmetic lives.
bool is_plain_arithmetic();

/// While one lives, ATen computes with tensors on the CPU too, as on a device. For tests, one at a time.
class PlainArithmetic {
 public:
  PlainArithmetic();
  ~PlainArithmetic();
  PlainArithmetic(const PlainArithmetic&) = delete;
  PlainArithmetic& operator=(const PlainArithmetic&) = delete;
};

/// [n] int64 or float32 on `device`.
at::Tensor on(const at::Device& device, const std::vector<std::int64_t>& values);
at::Tensor on(const at::Device& device, const std::vector<float>& values);

/// Moves a layer's weights to `place`. On a device whose products are taken in bfloat16, a layer whose
/// matrices bfloat16 represents exactly holds them in it.
void move_to(LlamaLayer& layer, const Place& place);

/// The same of all weights, a layer at a time.
void move_to(Llama& model, const Place& place);

}  // namespace cai
