#include "cai/model/tensors.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <atomic>

#include "cai/model/layer_tensors.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

std::atomic<bool> is_plain = false;

bool is_exact_in_bfloat16(const LlamaLayer& l) {
  for (const at::Tensor* w : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down})
    if (!at::equal(w->to(at::kBFloat16).to(at::kFloat), *w)) return false;
  return true;
}

}  // namespace

at::Device device_of(const Place& place) {
  return place.is_cpu() ? at::Device(at::kCPU)
                        : at::Device(at::kCUDA, static_cast<at::DeviceIndex>(place.cuda));
}

bool has_own_code(const at::Tensor& t) {
  return t.is_cpu() && !is_plain;
}

bool is_plain_arithmetic() {
  return is_plain;
}

PlainArithmetic::PlainArithmetic() {
  is_plain = true;
}
PlainArithmetic::~PlainArithmetic() {
  is_plain = false;
}

at::Tensor on(const at::Device& device, const std::vector<std::int64_t>& values) {
  return at::tensor(values, at::kLong).to(device);
}
at::Tensor on(const at::Device& device, const std::vector<float>& values) {
  return at::tensor(values, at::kFloat).to(device);
}

// Matrices in bfloat16 lie one below the other in one tensor: they are moved as float32 and rounded anew.
void move_to(LlamaLayer& layer, const Place& place) {
  const at::NoGradGuard no_gradients;
  for_each_tensor(layer, [&](at::Tensor& t) {
    if (t.defined()) t = t.detach().to(at::kFloat).to(device_of(place));
  });
  if (place.bfloat16 && !place.is_cpu() && is_exact_in_bfloat16(layer)) round_matrices(layer);
}

void move_to(Llama& model, const Place& place) {
  const at::NoGradGuard no_gradients;
  const at::Device device = device_of(place);
  model.place = place;
  if (model.device() == device) return;
  const bool is_tied = model.head.is_same(model.embedding);
  model.embedding = model.embedding.detach().to(device), model.norm = model.norm.detach().to(device);
  model.head = is_tied ? model.embedding : model.head.detach().to(device);
  for (LlamaLayer& layer : model.layers)
    move_to(layer, place);
  model.rounded = std::make_shared<RoundedWeights>();
}

}  // namespace cai
