#include "cai/model/fused.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "cai/model/rows.hpp"
#include "cai/model/tensors.hpp"

namespace cai {
namespace {

constexpr std::int64_t kChunk =
    64;  // rows whose part of a weight's gradient is summed on its own, so that threads do not matter

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& weight, double epsilon) {
    const at::Tensor x = input.contiguous();
    const std::int64_t width = x.size(-1), rows = x.numel() / width;
    at::Tensor y = at::empty_like(x), scales = at::empty({rows}, x.options());
    const float *from = x.data_ptr<float>(), *w = weight.data_ptr<float>();
    float *to = y.data_ptr<float>(), *s = scales.data_ptr<float>();
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < rows; ++r)
      s[r] = norm_row(from + r * width, w, width, static_cast<float>(epsilon), to + r * width);
    context->save_for_backward({x, weight, scales});
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], gradient = gradients[0].contiguous();
    const std::int64_t width = x.size(-1), rows = x.numel() / width, chunks = (rows + kChunk - 1) / kChunk;
    const float *from = x.data_ptr<float>(), *w = weight.data_ptr<float>(), *g = gradient.data_ptr<float>(),
                *s = saved[2].data_ptr<float>();
    const bool wants_weight = context->needs_input_grad(1);
    at::Tensor d_x = at::empty_like(x), parts = at::zeros({wants_weight ? chunks : 0, width}, x.options());
    float *to = d_x.data_ptr<float>(), *sums = parts.data_ptr<float>();
#pragma omp parallel for schedule(static)
    for (std::int64_t c = 0; c < chunks; ++c)
      for (std::int64_t r = c * kChunk; r < std::min(rows, (c + 1) * kChunk); ++r) {
        norm_row_backward(from + r * width, w, g + r * width, s[r], width, to + r * width);
        if (wants_weight)
          add_norm_weight_slopes(from + r * width, g + r * width, s[r], width, sums + c * width);
      }
    return {d_x, wants_weight ? parts.sum(0) : at::Tensor(), at::Tensor()};
  }
};

at::Tensor rotated(const at::Tensor& input, const at::Tensor& cosines, const at::Tensor& sines, float sign) {
  const at::Tensor x = input.contiguous();
  const std::int64_t n = x.size(0), heads = x.size(1), width = x.size(2), half = cosines.size(1);
  at::Tensor y = at::empty_like(x);
  const float *from = x.data_ptr<float>(), *c = cosines.data_ptr<float>(), *s = sines.data_ptr<float>();
  float* to = y.data_ptr<float>();
#pragma omp parallel for schedule(static)
  for (std::int64_t r = 0; r < n; ++r)
    rotate_row(from + r * heads * width, c + r * half, s + r * half, heads, width, half, sign,
               to + r * heads * width);
  return y;
}

struct Rotate : torch::autograd::Function<Rotate> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& cosines, const at::Tensor& sines) {
    context->save_for_backward({cosines, sines});
    return rotated(x, cosines, sines, 1);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {rotated(gradients[0], saved[0], saved[1], -1), at::Tensor(), at::Tensor()};
  }
};

struct Embed : torch::autograd::Function<Embed> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& weight,
                            const at::Tensor& tokens) {
    context->save_for_backward({weight, tokens});
    return weight.index_select(0, tokens);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    at::Tensor weight = saved[0];
    at::Tensor& gradient = weight.mutable_grad();
    if (!gradient.defined()) gradient = at::zeros_like(weight);
    const at::Tensor tokens = saved[1], slopes = gradients[0].contiguous();
    if (!has_own_code(weight)) {
      gradient.index_add_(0, tokens, slopes);
      return {at::Tensor(), at::Tensor()};
    }
    const std::int64_t width = weight.size(1);
    for (std::int64_t r = 0; r < tokens.size(0); ++r)
      add_floats(slopes.data_ptr<float>() + r * width, width,
                 gradient.data_ptr<float>() + tokens.data_ptr<std::int64_t>()[r] * width);
    return {at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor embed_rows(const at::Tensor& weight, const at::Tensor& tokens) {
  return Embed::apply(weight, tokens);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  if (!has_own_code(x)) return at::rms_norm(x, {x.size(-1)}, weight, epsilon);
  return RmsNorm::apply(x, weight, epsilon);
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cosines, const at::Tensor& sines) {
  if (!has_own_code(x)) {
    const std::int64_t half = cosines.size(1), rest = x.size(2) - 2 * half;
    const at::Tensor a = x.narrow(2, 0, half), b = x.narrow(2, half, half), c = cosines.unsqueeze(1),
                     s = sines.unsqueeze(1);
    return at::cat({a * c - b * s, b * c + a * s, x.narrow(2, 2 * half, rest)}, 2);
  }
  return Rotate::apply(x, cosines.contiguous(), sines.contiguous());
}

}  // namespace cai
