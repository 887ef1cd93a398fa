#include "cai/model/linear.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace cai {
namespace {

struct BFloat16Linear : torch::autograd::Function<BFloat16Linear> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight) {
    const at::Tensor rounded = x.to(at::kBFloat16), rounded_weight = weight.to(at::kBFloat16);
    context->save_for_backward({rounded, rounded_weight});
    return at::mm(rounded, rounded_weight.t()).to(at::kFloat);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], gradient = gradients[0].to(at::kBFloat16);
    return {context->needs_input_grad(0) ? at::mm(gradient, weight).to(at::kFloat) : at::Tensor(),
            context->needs_input_grad(1) ? at::mm(gradient.t(), x).to(at::kFloat) : at::Tensor()};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, bool bfloat16) {
  if (!bfloat16) return at::linear(x, weight, bias);
  const at::Tensor y = BFloat16Linear::apply(x, weight);
  return bias.defined() ? y + bias : y;
}

}  // namespace cai
