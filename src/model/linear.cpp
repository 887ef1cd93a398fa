#include "cai/model/linear.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>

#include "cai/model/half_products.hpp"
#include "cai/model/llama.hpp"

namespace cai {
namespace {

// The gradient of a weight that learns, float32, grows by `part`, bfloat16. Autograd would add a copy in
// float32: twice the memory to go through, for each pass.
void add_to_gradient(at::Tensor weight, const at::Tensor& part) {
  at::Tensor& gradient = weight.mutable_grad();
  if (!gradient.defined()) {
    gradient = part.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    return;
  }
  add_halves_to(gradient, part);
}

struct KeptWeights : torch::CustomClassHolder {
  KeptWeights(std::vector<at::Tensor> w, std::shared_ptr<RoundedWeights> r)
      : weights(std::move(w)), rounded(std::move(r)) {}
  std::vector<at::Tensor> weights;
  std::shared_ptr<RoundedWeights> rounded;
};

// `learning` is one of the weights that learn, if any does: autograd sees by it that there is something to
// do.
struct HalfLinear : torch::autograd::Function<HalfLinear> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& learning, const c10::intrusive_ptr<KeptWeights>& kept) {
    const at::Tensor halves = rounded_rows(x);
    context->save_for_backward({halves});
    context->saved_data["kept"] = c10::IValue::make_capsule(kept);
    return float_rows(product(halves, kept->rounded->of(kept->weights).t()), x.size(0));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto kept =
        c10::static_intrusive_pointer_cast<KeptWeights>(context->saved_data["kept"].toCapsule());
    const at::Tensor halves = context->get_saved_variables()[0],
                     slopes = rounded_rows(gradients[0].contiguous());
    learn_products(kept->weights, slopes, halves);
    at::Tensor d_x;
    if (context->needs_input_grad(0))
      d_x = float_rows(product(slopes, kept->rounded->of(kept->weights)), gradients[0].size(0));
    return {d_x, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

void learn_products(const std::vector<at::Tensor>& weights, const at::Tensor& slopes, const at::Tensor& x) {
  if (std::none_of(weights.begin(), weights.end(), [](const at::Tensor& w) { return w.requires_grad(); }))
    return;
  const at::Tensor all = product(slopes.t(), x);
  std::int64_t from = 0;
  for (const at::Tensor& w : weights) {
    if (w.requires_grad()) add_to_gradient(w, all.narrow(0, from, w.size(0)));
    from += w.size(0);
  }
}

at::Tensor linear(const at::Tensor& x, const std::vector<at::Tensor>& weights,
                  const std::shared_ptr<RoundedWeights>& rounded) {
  if (rounded) {
    const auto learning =
        std::find_if(weights.begin(), weights.end(), [](const at::Tensor& w) { return w.requires_grad(); });
    return HalfLinear::apply(x.contiguous(), learning == weights.end() ? weights.front() : *learning,
                             c10::make_intrusive<KeptWeights>(weights, rounded));
  }
  // A model on a device may hold matrices in bfloat16 that are multiplied in float32 here.
  if (weights.size() == 1) return at::linear(x, weights.front().to(x.scalar_type()));
  std::vector<at::Tensor> parts;
  for (const at::Tensor& w : weights)
    parts.push_back(at::linear(x, w.to(x.scalar_type())));
  return at::cat(parts, 1);
}

at::Tensor linear(const Llama& model, const at::Tensor& x, const std::vector<at::Tensor>& weights,
                  const std::vector<LowRank>& low_ranks) {
  const std::shared_ptr<RoundedWeights> rounded = model.place.bfloat16 ? model.rounded : nullptr;
  const at::Tensor products = linear(x, weights, rounded);
  std::vector<at::Tensor> downs;      // each once: matrices that files hold in one share theirs
  std::vector<std::int64_t> columns;  // of each weight's in their products
  std::int64_t width = 0;
  for (const LowRank& low_rank : low_ranks) {
    const at::Tensor& a = low_rank.a;
    const bool is_new = a.defined() && (downs.empty() || !a.is_same(downs.back()));
    if (is_new) downs.push_back(a), width += a.size(0);
    columns.push_back(a.defined() ? width - a.size(0) : 0);
  }
  if (downs.empty()) return products;
  const at::Tensor thin = linear(x, downs, rounded);
  std::vector<at::Tensor> parts;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const auto& [a, b, scale] = low_ranks[i];
    parts.push_back(a.defined() ? linear(thin.narrow(1, columns[i], a.size(0)) * scale, {b}, rounded)
                                : at::zeros({x.size(0), weights[i].size(0)}, products.options()));
  }
  return products + at::cat(parts, 1);
}

}  // namespace cai
